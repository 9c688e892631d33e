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
from .hostile import TEXTS, HostileAPI, context_of, hostile_api
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
TOUCH = """() => {
  for (const node of document.querySelectorAll("*")) {
    for (const name of ["mouseover", "pointerover", "focus", "load", "error"])
      node.dispatchEvent(new Event(name, {bubbles: true}));
    if (node.focus) node.focus();
    if (node.matches("a, area, form, button")) node.click?.();
  }
}"""


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """Every hostile page by its path, as our doors made it."""
    made: dict[str, str] = {}
    with hostile_api() as api:
        for name in SEEN:
            made |= _made(name, *PAGES[name], api)
        made |= _made("unescaped", "asgi", page_of(UNESCAPED), api)
    return made


def _made(name: str, door: str, render: object, api: HostileAPI) -> dict[str, str]:
    made: dict[str, str] = {}
    with open_shop(door, render, **sections(api)) as shop:  # type: ignore[arg-type]
        for number, text in enumerate(TEXTS):
            api.says = text
            made[f"/{quote(name)}/{number}"] = shop.ask(customer="alice").text
    return made


@pytest.fixture
def tab(pages: dict[str, str], browser: Browser) -> Iterator[Page]:
    """A page whose network is ours alone, and which may show no dialog."""
    files = {f"/_moe/{SCRIPT_NAME}": SCRIPT, f"/_moe/{SDK_SCRIPT_NAME}": SDK_SCRIPT}
    dialogs: list[str] = []

    def serve(route: Route) -> None:
        path = route.request.url.removeprefix(SITE)
        if path in pages:
            body = pages[path].encode("utf-8", "replace")
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
    yield tab
    context.close()
    assert dialogs == []


@pytest.mark.parametrize("name", SEEN)
def test_no_text_of_others_runs(tab: Page, name: str) -> None:
    for number, text in enumerate(TEXTS):
        tab.goto(f"{SITE}/{quote(name)}/{number}")
        tab.evaluate(TOUCH)
        tab.wait_for_function("reports.length > 0")

        assert tab.evaluate("hits") == [], text
        assert tab.evaluate("({}).polluted === undefined"), text
        # The SDK gets the API's answer, and only a context by the API's name.
        assert tab.evaluate("JSON.stringify(reports[0])") == json.dumps(
            context_of(text), separators=(",", ":"), ensure_ascii=False
        )
        protocols = tab.evaluate("[...document.links].map(link => link.protocol)")
        assert set(protocols) <= {"http:", "https:"}, text
        assert tab.url.partition("#")[0] == f"{SITE}/{quote(name)}/{number}"


@pytest.mark.parametrize("number", [0, 1, 2, 3, 8])
def test_where_nothing_is_escaped_they_do(tab: Page, number: int) -> None:
    tab.goto(f"{SITE}/unescaped/{number}")
    tab.evaluate(TOUCH)

    # So that the test above can be believed: scripts, handlers and links alike.
    tab.wait_for_function("wanted => hits.includes(wanted)", arg=number + 1)


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
        "".join(drawn.choices(PIECES, k=drawn.randint(1, 7))) for _ in range(20_000)
    ]
    targets += [f"/{target}" for target in targets[:5_000]]
    targets += [f"https://partner.example{target}" for target in targets[:5_000]]
    hosts = {"partner.example"}
    led_to = [target for target in targets if leads_to(target, hosts)]
    assert len(led_to) > 500
    # As they stand in a page, and as they are in a redirect.
    locations = [quote(one, safe="/?#[]@!$&'()*+,;=:%~") for one in led_to]
    held = [target for target in targets if harmless(target) == target]
    assert len(held) > 1_000
    tab.goto(f"{SITE}/unescaped/0")

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
