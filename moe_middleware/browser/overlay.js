// Draws the overlay: the experiences of this page, with their reasons. Values are
// inserted as text, never as markup.
(() => {
  if (customElements.get("moe-overlay")) return;
  const sheet = new CSSStyleSheet();
  sheet.replaceSync("the style");

  const REASONS = {
    no_match: "the visitor is in none of its audiences",
    not_requested: "no route of moe.yml has this key for this path",
    no_request: "it was read outside of a request",
    revalidating: "expired, or of the last hour; a fetch in the background refreshes it",
    not_ready: "its answer had not arrived, and the page did not wait for it",
    too_late: "the response had begun as one that caches may share",
    not_active: "it is not active in the workspace",
    bot: "bots get no experiences",
    no_consent: "the visitor has not consented",
    breaker_open: "MoEngage failed repeatedly, so calls pause",
    budget_spent: "all calls of this minute are used",
    timeout: "no answer within the page's time budget",
    unreachable: "MoEngage could not be reached",
    bad_answer: "the response could not be read",
    bad_payload: "its payload does not have the type that the page asks for",
    server_error: "MoEngage answered with a server error",
    rate_limited: "MoEngage refused: too many calls",
    unauthorized: "the workspace id or the API key was refused",
    invalid_request: "MoEngage refused the request as invalid",
    error: "an error on our side; the log has it"
  };
  // Nothing went wrong for these.
  const USUAL = ["no_match", "bot", "no_consent", "not_active", "revalidating"];

  // Makes an element; attributes are given as an object, children may be null.
  const make = (tag, given, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(given || {}))
      if (value !== null && value !== false)
        node.setAttribute(name, value === true ? "" : value);
    node.append(...children.filter(one => one !== null));
    return node;
  };

  // Only links that lead to a page: a javascript: address stays a text.
  const link = (address, ...children) =>
    /^(https?:\/\/|\/(?!\/))/.test(address)
      ? make("a", {href: address}, ...children)
      : make("span", null, ...children);

  const here = () => {
    const whole = location.pathname + location.search;
    return whole.length > 2000 ? location.pathname : whole;
  };

  const form = (to, fields, ...children) => make(
    "form", {method: "post", action: to},
    ...Object.entries({...fields, back: here()}).map(([name, value]) =>
      make("input", {type: "hidden", name, value})),
    ...children
  );

  const remember = value => {
    try {
      if (value === undefined) return sessionStorage.getItem("moe-overlay");
      sessionStorage.setItem("moe-overlay", value);
    } catch {
      // A page may forbid it: then the overlay begins closed.
    }
    return null;
  };

  const rows = (pairs, css) => make("dl", {class: css}, ...pairs.map(
    ([name, ...value]) => make("div", null, make("dt", null, name), make("dd", null, ...value))
  ));

  const wait = one => `${one.ms} ms`;

  const answer = one => {
    if (one.source === "preview") return ["Preview of ", make("b", null, one.variation)];
    if (!one.matches) return [one.source === "fallback" ? "Fallback" : "No match"];
    if (one.variation === null) return ["Matches"];
    return ["Variation ", make("b", null, one.variation),
      ...(one.audience === null ? [] : [" for ", make("b", null, one.audience)])];
  };

  const COUNTS = {yes: "Counts ", later: "Counts ", no: "Does not count: "};

  const variations = (page, one) => {
    const previewed = page.preview && page.preview.key === one.key;
    const shown = previewed ? page.preview.variation : `${one.audience}/${one.variation}`;
    if (!one.variations.length || one.variations.length < 2 && one.matches) return null;
    return make("details", null,
      make("summary", null, `Variations (${one.variations.length})`),
      form(
        page.own + "switch", {key: one.key},
        make("select", {name: "variation", "aria-label": `Variation of ${one.key}`},
          ...one.variations.map(name =>
            make("option", {value: name, selected: name === shown}, name))),
        make("button", null, "Preview")
      ));
  };

  const item = (page, one) => {
    const payload = Object.entries(one.payload), usual = USUAL.includes(one.reason);
    return make(
      "li", {class: one.reason && !usual ? "failed" : null},
      make("div", {class: "head"},
        make("h3", null, one.key),
        make("span", {class: "source"}, one.source, " ", make("span", null, wait(one)))),
      make("div", {class: "answer"}, make("p", null, ...answer(one)),
        one.source === "preview"
          ? form(page.own + "switch", {variation: ""}, make("button", null, "Exit preview"))
          : null),
      one.reason
        ? make("p", {class: "reason"}, make("code", null, one.reason),
            REASONS[one.reason] ? `: ${REASONS[one.reason]}` : "")
        : null,
      make("p", {class: `counts ${one.counts}`}, COUNTS[one.counts], one.why),
      make("div", {class: "acts"},
        one.explain
          ? link(one.explain, one.matches ? "Why this?" : "Why not?") : null,
        payload.length
          ? make("details", null,
              make("summary", null, `Payload (${payload.length})`), rows(payload, "values"))
          : null,
        variations(page, one))
    );
  };

  const visitor = page => {
    const {is, ids, sent} = page.visitor, attributes = Object.entries(sent || {});
    const title = {
      unknown: "not looked up: this page asked for nothing",
      bot: "a bot",
      "without consent": "a visitor without consent: no ids"
    }[is] || is;
    return [
      rows([
        ["Visitor", title],
        ...(ids || []).map(id => [id.name, make("b", null, id.value),
          make("small", null, ` ${id.source}`)]),
        ["Routes", page.routes.length ? page.routes.join(", ") : "none match this path"],
        ["Waited", `${page.waited} ms of ${page.budget} ms`]
      ], "facts"),
      attributes.length
        ? make("details", null,
            make("summary", null, `In-session attributes (${attributes.length})`),
            rows(attributes, "values"))
        : null
    ];
  };

  const hint = page => {
    if (!page.experiences.length)
      return "No route of moe.yml asks for an experience here, and the page read none.";
    if (page.embedded && !page.previews)
      return "To switch variations, set a secret_key.";
    if (page.embedded && !page.sandbox)
      return "workspace.pages: on adds links to the sandbox's explanations.";
    if (!page.embedded)
      return "MoEngage's API lists no variations: moe-middleware preview makes links.";
    return null;
  };

  const draw = page => {
    const all = page.experiences, got = all.filter(one => one.matches).length;
    const failed = all.some(one => one.reason && !USUAL.includes(one.reason));
    const state = page.preview || failed ? "warm" : "fine";
    const label = page.preview ? "Preview" : `${got} of ${all.length}`;
    const about = hint(page);
    const panel = make(
      "div", {class: "panel", id: "panel", hidden: true},
      make("div", {class: "head"},
        make("h2", null, "Experiences of this page"),
        make("span", {class: "source"}, String(page.status))),
      make("p", {class: "path"}, page.path),
      ...visitor(page),
      all.length ? make("ul", null, ...all.map(one => item(page, one))) : null,
      about ? make("p", {class: "hint"}, about) : null,
      page.sandbox || page.leave
        ? make("div", {class: "foot"},
            page.sandbox ? link(page.sandbox, "Sandbox") : null,
            page.leave
              ? form(page.own + "leave", {}, make("button", null, "Turn the overlay off"))
              : null)
        : null
    );
    const pill = make(
      "button", {class: `pill ${state}`, type: "button", "aria-expanded": "false", "aria-controls": "panel",
        "aria-label": `MoEngage experiences: ${label}, waited ${page.waited} ms`},
      make("i", null), make("b", null, label), make("span", null, `${page.waited} ms`)
    );
    const turn = open => {
      panel.hidden = !open;
      pill.setAttribute("aria-expanded", String(open));
      remember(open ? "open" : "closed");
    };
    pill.addEventListener("click", () => turn(panel.hidden));
    const css = page.preview ? "root previewed" : "root";
    const root = make("aside", {class: css, dir: "ltr", lang: "en",
      "aria-label": "MoEngage overlay, for developers"}, pill, panel);
    root.addEventListener("keydown", event => {
      if (event.key !== "Escape" || panel.hidden) return;
      event.stopPropagation();
      turn(false);
      pill.focus();
    });
    if (remember() === "open") turn(true);
    return root;
  };

  customElements.define("moe-overlay", class extends HTMLElement {
    connectedCallback() {
      // Not in a frame of a page that has its own; not twice where a script moves it.
      if (window.top !== window || this.shadowRoot) return;
      const root = draw(JSON.parse(this.dataset.page));
      const shadow = this.attachShadow({mode: "open"});
      shadow.adoptedStyleSheets = [sheet];
      // The badge of a preview stays where it is: at the other side of the window.
      shadow.append(root, make("slot"));
    }
  });
})();
