"""A real Chromium looks at pages full of hostile texts, and at hostile links."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Dialog, Page, Route

from moe_middleware.browser import SCRIPT, SCRIPT_NAME, SDK_SCRIPT, SDK_SCRIPT_NAME
from moe_middleware.models.urls import harmless, leads_to

from ..chromium.conftest import USER_AGENT
from ..servers import PATIENCE
from .doors import open_shop, page_of
from .hostile import TEXTS, context_of, hostile_api
from .test_markup import PAGES, sections

SITE = "http://shop.example"
SEEN = ("jinja", "django")
UNESCAPED = """{% experience "homepage-banner" as one %}<p>{{ one.Title|safe }}</p>
<a href="{{ one.Title }}">x</a>{% endexperience %}"""

# No policy of the page's forbids anything here: it is the page that is to be whole.
PREPARE = """
window.hits = [];
window.hit = number => { top.hits.push(number); };
window.reports = [];
const tell = context => { window.reports.push(context); };
window.Moengage = {
  device: {getUuid: async () => "0b6e1a52-7c53-4f4e-9d0e-6b7a1c2d3e4f"},
  web_p: {trackImpression: tell, trackClick: () => {}},
};
"""
# A page of its own for each would take four times as long.
FRAME = """paths => Promise.all(paths.map(path => new Promise(loaded => {
  const frame = document.createElement("iframe");
  frame.src = path;
  frame.onload = loaded;
  document.body.append(frame);
}))).then(() => {})"""
TOUCH = """() => {
  for (const {document} of Array.from(frames))
    for (const node of document.querySelectorAll("*")) {
      for (const name of ["mouseover", "pointerover", "focus", "load", "error"])
        node.dispatchEvent(new Event(name, {bubbles: true}));
      if (node.focus) node.focus();
      if (node.matches("a, area, form, button")) node.click?.();
    }
}"""
FOUND = """() => Array.from(frames).map(frame => [
  frame.location.pathname,
  JSON.stringify(frame.reports[0]),
  [...frame.document.links].map(link => link.protocol),
  "polluted" in frame.Object.prototype,
])"""


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """Every hostile page by its path, as our doors made it."""
    made: dict[str, str] = {}
    doors = {name: PAGES[name] for name in SEEN}
    doors["unescaped"] = ("asgi", page_of(UNESCAPED))
    with hostile_api() as api:
        for name, (door, render) in doors.items():
            with open_shop(door, render, **sections(api)) as shop:
                for number, text in enumerate(TEXTS):
                    api.says = text
                    made[f"/{name}/{number}"] = shop.ask(customer="alice").text
    return made


@pytest.fixture
def tab(pages: dict[str, str], browser: Browser) -> Iterator[Page]:
    """A page whose network is ours alone, and which may show no dialog."""
    files = {f"/_moe/{SCRIPT_NAME}": SCRIPT, f"/_moe/{SDK_SCRIPT_NAME}": SDK_SCRIPT}
    dialogs: list[str] = []

    def serve(route: Route) -> None:
        path = route.request.url.removeprefix(SITE)
        if path == "/" or path in pages:
            body = pages.get(path, "<!doctype html>").encode("utf-8", "replace")
            route.fulfill(body=body, content_type="text/html; charset=utf-8")
        elif path in files:
            route.fulfill(body=files[path], content_type="text/javascript")
        else:
            # A visitor who follows a link gets there, and stays where they are.
            route.fulfill(status=204)

    def note(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    context = browser.new_context(user_agent=USER_AGENT)
    context.set_default_timeout(PATIENCE * 1_000)
    context.add_init_script(PREPARE)
    context.route("**/*", serve)
    tab = context.new_page()
    tab.on("dialog", note)
    tab.goto(f"{SITE}/")
    yield tab
    context.close()
    assert dialogs == []


def test_no_text_of_others_runs(tab: Page) -> None:
    texts = {f"/{name}/{n}": text for name in SEEN for n, text in enumerate(TEXTS)}
    tab.evaluate(FRAME, [*texts])
    tab.evaluate(TOUCH)
    tab.wait_for_function("Array.from(frames).every(one => one.reports.length)")

    found = {path: rest for path, *rest in tab.evaluate(FOUND)}
    assert tab.evaluate("hits") == []
    assert found.keys() == texts.keys()
    for path, (report, protocols, polluted) in found.items():
        # The SDK gets the API's answer, and only a context by the API's name.
        assert report == json.dumps(
            context_of(texts[path]), separators=(",", ":"), ensure_ascii=False
        )
        assert set(protocols) <= {"http:", "https:"}, texts[path]
        assert not polluted, texts[path]
    assert tab.url.partition("#")[0] == f"{SITE}/"


def test_where_nothing_is_escaped_they_do(tab: Page) -> None:
    numbers = [0, 1, 2, 3, 8]
    tab.evaluate(FRAME, [f"/unescaped/{number}" for number in numbers])
    tab.evaluate(TOUCH)

    # So that the test above can be believed: scripts, handlers and links alike.
    tab.wait_for_function(
        "wanted => wanted.every(one => hits.includes(one + 1))", arg=numbers
    )


# --- links ---------------------------------------------------------------------

PIECES = [
    *("/", "//", "\\", ":", "@", "?", "#", ".", "..", ";", "&", "=", ",", "'", "-"),
    *("%2f", "%5c", "%00", "%09", "%40", "%2e", "\t", "\n", "\r", " ", "\0", "\x1f"),
    *("evil.example", "partner.example", "shop.example", "80", "[", "]", "::1", "0x7f"),
    *("http", "https", "http:", "https://", "javascript", "javascript:", "data:", "a"),
    *("\uff0f", "\uff1a", "\uff20", "\u3002", "\u2100", "\u00ad", "\u200b", "\ufeff"),
    *("\u2028", "\u00a0", "xn--", "\u0130", "\u017f", "\u212a", "\ud55c"),
]
JUDGE = """targets => targets.map(target => {
  try {
    const url = new URL(target, "https://shop.example/a/b");
    return [url.protocol, url.hostname, url.username + url.password];
  } catch {
    return null;
  }
})"""


def test_a_browser_reads_links_as_we_do(tab: Page) -> None:
    drawn = random.Random(7)
    targets = [
        "".join(drawn.choices(PIECES, k=drawn.randint(1, 7))) for _ in range(4_000)
    ]
    targets += [f"/{target}" for target in targets[:1_000]]
    targets += [f"https://partner.example{target}" for target in targets[:1_000]]
    hosts = {"partner.example"}
    led_to = [target for target in targets if leads_to(target, hosts)]
    assert len(led_to) > 100
    # As they stand in a page, and as they are in a redirect.
    locations = [quote(one, safe="/?#[]@!$&'()*+,;=:%~") for one in led_to]
    held = [target for target in targets if harmless(target) == target]
    assert len(held) > 200

    for given in (led_to, locations):
        for target, read in zip(given, tab.evaluate(JUDGE, given), strict=True):
            # A text that no browser takes for an address leads nowhere.
            if read is None:
                continue
            protocol, host, credentials = read
            assert protocol in ("http:", "https:"), ascii(target)
            assert host in ("shop.example", "partner.example"), ascii(target)
            assert host == "shop.example" or "partner.example" in target
            assert credentials == "", ascii(target)
    for target, read in zip(held, tab.evaluate(JUDGE, held), strict=True):
        protocol, host, credentials = read or ("https:", "shop.example", "")
        assert protocol not in ("javascript:", "data:"), ascii(target)
        if protocol not in ("http:", "https:"):
            continue
        assert credentials == "", ascii(target)
        if host != "shop.example":
            assert target.lower().startswith(("http:", "https:")), ascii(target)
