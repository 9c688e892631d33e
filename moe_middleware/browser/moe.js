// Counts clicks on the elements that the server marked, and tells what was on screen
// for a second. The server signed their tokens: nothing else can be counted.
(() => {
  const page = document, own = page.currentScript.src.replace(/[^/]*$/, "");
  const clicked = new WeakMap, marks = new WeakMap, timers = new Map, lines = [];
  let due, later;

  // One beacon takes fifty lines.
  const send = () => {
    later = 0;
    while (lines.length) {
      const body = lines.splice(0, 50).join("\n"), to = own + "e";
      if (!navigator.sendBeacon?.(to, body))
        fetch(to, {method: "POST", body, keepalive: true}).catch(() => {});
    }
  };

  // A link that counts by itself is left alone, and so is a double click's second half.
  const click = event => {
    const path = event.composedPath(), now = Date.now();
    const node = path.find(node => node.matches?.("[data-moe-on~=click]"));
    if (!node || !event.isTrusted || event.button > 1 ||
      Math.abs(now - clicked.get(node)) < 300 ||
      path.some(node => node.href?.startsWith?.(own + "c/"))) return;
    clicked.set(node, now);
    lines.push(`c ${node.dataset.moe} ${now}`);
    send();
  };

  const stop = node => {
    clearTimeout(timers.get(node));
    timers.delete(node);
  };

  const start = node => {
    stop(node);
    timers.set(node, setTimeout(() => {
      if (page.hidden || page.prerendering ||
        node.checkVisibility?.({checkOpacity: 1, checkVisibilityCSS: 1}) === false)
        return start(node);
      stop(node);
      watch.unobserve(node);
      lines.push("s " + node.dataset.moe);
      later ||= setTimeout(send, 50);
    }, 1000));
  };

  // Of what is taller than two screens, half a screen is enough.
  const watch = new IntersectionObserver(entries => entries.forEach(entry => {
    const node = entry.target, {height} = entry.intersectionRect;
    if (!height || entry.intersectionRatio < .5 && height * 2 < innerHeight) stop(node);
    else if (!timers.has(node)) start(node);
  }), {threshold: [.5, .26, .14, .07, .04]});

  // What is watched already goes on; another mark begins anew.
  const scan = () => {
    due = 0;
    page.querySelectorAll("[data-moe-on~=seen]").forEach(node => {
      const token = node.dataset.moe;
      if (marks.get(node) == token) return;
      marks.set(node, token);
      stop(node);
      watch.unobserve(node);
      watch.observe(node);
    });
  };

  // The page comes to the front, or goes to the back: every second begins anew.
  const turn = () => {
    send();
    [...timers.keys()].forEach(start);
  };

  for (const name of ["click", "auxclick"]) addEventListener(name, click, true);
  for (const name of ["pageshow", "visibilitychange", "prerenderingchange"])
    addEventListener(name, turn, true);
  new MutationObserver(() => due ||= setTimeout(scan, 100)).observe(page, {
    attributeFilter: ["data-moe"], childList: true, subtree: true
  });
  scan();
})();
