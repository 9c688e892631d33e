// Updates the figures once a second while the tab is visible.
const EVERY = 1000;
let timer;

async function refresh() {
  try {
    const answer = await fetch("/counted");
    if (answer.ok) renew(await answer.text());
  } catch {
    // The shop was stopped. The figures stay; the next try may find it again.
  }
  schedule();
}

function renew(text) {
  const fresh = new DOMParser().parseFromString(text, "text/html");
  for (const part of fresh.querySelectorAll("[data-live]")) {
    const shown = document.getElementById(part.id);
    if (shown && shown.innerHTML !== part.innerHTML) {
      shown.innerHTML = part.innerHTML;
      shown.classList.remove("renewed");
      void shown.offsetWidth; // lets the highlight start anew
      shown.classList.add("renewed");
    }
  }
}

function schedule() {
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(refresh, EVERY);
}

document.addEventListener("visibilitychange", schedule);
schedule();
