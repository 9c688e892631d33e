// Updates the live parts of a page, and copies code to the clipboard.
//
// Once a second it asks for a short digest of everything that the pages show. When the
// digest changes, it fetches the page again and replaces the parts that differ. No
// connection stays open, so the server can stop at any time.
const EVERY = 1000;
const SAY_AT_MOST_EVERY = 4000;
const { stateAt, state: known } = document.body.dataset;
const toggle = document.querySelector("[data-pause]");
const voice = document.querySelector("[data-voice]");
let state = known;
let paused = false;
let timer;
let unsaid = 0;
let saidAt = 0;

async function look() {
  try {
    const answer = await fetch(stateAt, { cache: "no-store" });
    if (answer.ok) {
      const now = await answer.text();
      if (now !== state && (await renew())) state = now;
    }
  } catch {
    // The server was stopped. The figures stay; the next look may find it again.
  }
  say();
  schedule();
}

async function renew() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok || paused) return false;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of fresh.querySelectorAll("[data-live]")) {
    const shown = document.getElementById(part.id);
    if (!shown || shown.innerHTML === part.innerHTML) continue;
    if ("rows" in part.dataset) mergeRows(shown, part);
    else replace(shown, part);
  }
  return true;
}

// Rows that stay are left alone, with their open details; new ones come on top.
function mergeRows(shown, part) {
  const wanted = new Set([...part.children].map((row) => row.id));
  for (const row of [...shown.children]) {
    if (!wanted.has(row.id)) row.remove();
  }
  let before = shown.firstElementChild;
  for (const row of [...part.children]) {
    if (document.getElementById(row.id)) {
      before = document.getElementById(row.id).nextElementSibling;
      continue;
    }
    const added = document.importNode(row, true);
    added.classList.add("fresh");
    shown.insertBefore(added, before);
    if (added.dataset.event !== undefined) unsaid += 1;
  }
}

function replace(shown, part) {
  const focus = [...shown.querySelectorAll("a, button, summary, [tabindex]")].indexOf(
    document.activeElement,
  );
  const open = [...shown.querySelectorAll("details[open][id]")].map(({ id }) => id);
  shown.replaceChildren(...[...part.childNodes].map((n) => document.importNode(n, true)));
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  if (focus >= 0) {
    shown.querySelectorAll("a, button, summary, [tabindex]")[focus]?.focus();
  }
}

// A screen reader announces the number of new lines, not each of them.
function say() {
  const now = Date.now();
  if (!unsaid || !voice || now - saidAt < SAY_AT_MOST_EVERY) return;
  voice.textContent = unsaid === 1 ? "1 new line" : `${unsaid} new lines`;
  unsaid = 0;
  saidAt = now;
}

function schedule() {
  clearTimeout(timer);
  if (!paused && !document.hidden) timer = setTimeout(look, EVERY);
}

// A handler on the document also serves buttons that an update brings.
document.documentElement.classList.add("scripted");
document.addEventListener("click", async ({ target }) => {
  const button = target.closest("[data-copy]");
  if (!button) return;
  const code = button.previousElementSibling;
  const copied = await copy(code);
  button.textContent = copied ? "Copied" : "Selected";
  if (voice) voice.textContent = copied ? "Copied" : "Selected, ready to copy";
  setTimeout(() => (button.textContent = "Copy"), 2000);
});

async function copy(code) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    return true;
  } catch {
    // Without https, and not on localhost, browsers have no clipboard for scripts.
    getSelection().selectAllChildren(code);
    return false;
  }
}

if (toggle) {
  toggle.hidden = false;
  toggle.addEventListener("click", () => {
    paused = !paused;
    toggle.setAttribute("aria-pressed", String(paused));
    toggle.textContent = paused ? "Paused" : "Live";
    schedule();
  });
}

document.addEventListener("visibilitychange", schedule);
if (stateAt) schedule();
