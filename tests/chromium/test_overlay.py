"""The overlay in a real Chromium, on a page with a strict Content-Security-Policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from jinja2 import DictLoader, Environment
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from moe_middleware import MoEngageMiddleware, Settings
from moe_middleware.sandbox import Sandbox

from ..attacks.hostile import TEXTS
from ..servers import PATIENCE
from .conftest import KEY, USER_AGENT
from .looking import complaints_of, reach, serving, until

SHOP = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Shop</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="/shop.css"><main><h1>Shop</h1>
{% experience "homepage-banner" as one %}<p id="title">{{ one.Title }}</p>
{% endexperience %}{% experience "nope" %}{% endexperience %}</main></html>"""

# A site whose style would spoil whatever it reaches.
STYLE = """* { display: none !important; color: red !important }
* { font-size: 90px !important }
html, head, body, main, h1, p { display: block !important }
moe-overlay { display: none !important; top: 0 !important; opacity: 0.1 }"""

POLICIES = {
    "self": "default-src 'self'",
    "nonce": "default-src 'none'; script-src 'nonce-n0nce'; style-src 'self'; "
    "require-trusted-types-for 'script'; form-action 'self'",
}


def shop_app(policy: str) -> MoEngageMiddleware:
    page = Environment(
        loader=DictLoader({"page": SHOP}),
        extensions=["moe_middleware.jinja.MoEngageExtension"],
        autoescape=True,
    ).get_template("page")

    async def handler(request: Request) -> Response:
        headers = {"content-security-policy": POLICIES[policy]}
        if request.url.path == "/shop.css":
            return Response(STYLE, media_type="text/css")
        return HTMLResponse(page.render(request=request), headers=headers)

    config = Settings(
        workspace={"data_center": "sandbox", "pages": "on"},
        identity={"customer_id": {"cookie": "customer_id"}},
        routes=[{"path": "/", "experiences": [KEY, "promo-strip"]}],
        events={"outbox": "memory:", "interval": 0.05},
        fetch={"timeout": 5},
        secret_key="a secret key of the overlay's tests",
        development={"overlay": "on"},
    )
    return MoEngageMiddleware(
        Starlette(routes=[Route("/{rest:path}", handler)]), config
    )


OpenPage = Callable[..., Page]

WINDOWS = [(390, "dark", "nonce"), (1280, "light", "self")]


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Return a function that opens a page in a browser of its own.

    The page complains of nothing.
    """
    contexts, complaints = list[BrowserContext](), list[list[str]]()

    def open_one(url: str, **options: Any) -> Page:
        context = browser.new_context(base_url=url, user_agent=USER_AGENT, **options)
        context.set_default_timeout(PATIENCE * 1000)
        contexts.append(context)
        page = context.new_page()
        complaints.append(complaints_of(page))
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert [one for one in complaints if one] == []


def pill(page: Page) -> Locator:
    return page.get_by_role("button", name="MoEngage experiences")


@pytest.mark.parametrize(("width", "scheme", "policy"), WINDOWS)
def test_it_is_drawn_operated_and_left_by_the_keyboard(
    open_page: OpenPage, sandbox: Sandbox, width: int, scheme: str, policy: str
) -> None:
    size = {"width": width, "height": 800}
    with serving(shop_app(policy)) as url:
        page = open_page(url, viewport=size, color_scheme=scheme)
        page.context.add_cookies(
            [{"name": "customer_id", "value": "alice", "url": url}]
        )
        check_operation(page, sandbox)


def check_operation(page: Page, sandbox: Sandbox) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page.goto("/?a=1")

    expect(pill(page)).to_have_attribute("aria-expanded", "false")
    panel = page.locator("moe-overlay .panel")
    expect(panel).to_be_hidden()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(panel).to_be_visible()
    expect(panel).to_contain_text("Variation 1 for Gold members")
    expect(panel).to_contain_text("Counts once, with this response")
    expect(panel).to_contain_text("not_requested: no route of moe.yml has this key")
    expect(panel).to_contain_text("alice cookie customer_id")
    # The site's style does not reach it, nor does it leave the screen.
    size = page.evaluate("""() => {
      const root = document.querySelector("moe-overlay").shadowRoot;
      const panel = root.querySelector(".panel"), box = panel.getBoundingClientRect();
      const style = getComputedStyle(panel);
      return [style.fontSize, style.color !== "rgb(255, 0, 0)", box.left >= 0,
        box.right <= innerWidth, box.top >= 0, box.bottom <= innerHeight,
        panel.scrollWidth <= panel.clientWidth,
        document.documentElement.scrollWidth <= innerWidth];
    }""")
    assert size == ["14px", *[True] * 7]
    # Nor does it add anything to the page's own elements.
    assert page.evaluate("document.styleSheets.length") == 1
    found = axe.Axe().run(page, context="moe-overlay")
    assert found.response["violations"] == []
    page.get_by_text("Variations (4)").first.click()
    page.get_by_label(f"Variation of {KEY}").select_option("All Users/2")
    page.get_by_role("button", name="Preview", exact=True).first.click()
    page.wait_for_url("**/?a=1")
    # It stays open, as it was.
    expect(panel).to_contain_text("Preview of All Users/2")
    reach(lambda: sandbox.impressions(KEY), 1)
    page.get_by_role("button", name="Exit preview").click()
    expect(panel).to_contain_text("Variation 1 for Gold members")
    page.keyboard.press("Tab")
    expect(pill(page)).to_be_focused()
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(pill(page)).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Why this?").first.click()
    page.wait_for_url("**/_moe/sandbox/explain?*")
    expect(page.locator("main")).to_contain_text("Gold members")


def test_without_scripts_a_preview_has_its_badge(
    sandbox: Sandbox, open_page: OpenPage
) -> None:
    with serving(shop_app("self")) as url:
        page = open_page(url)
        page.goto("/")
        pill(page).click()
        page.get_by_text("Variations (4)").first.click()
        page.get_by_role("button", name="Preview", exact=True).first.click()
        expect(page.get_by_role("button", name="Exit preview")).to_be_visible()
        state = page.context.storage_state()
        plain = open_page(url, java_script_enabled=False, storage_state=state)
        plain.goto("/")

        expect(plain.locator("moe-overlay .moe-preview")).to_contain_text(
            "Exit preview"
        )


def test_a_script_that_replaces_the_page_brings_the_new_ones_overlay(
    sandbox: Sandbox, open_page: OpenPage
) -> None:
    with serving(shop_app("self")) as url:
        page = open_page(url)
        page.goto("/")
        page.evaluate("""async () => {
          const headers = {accept: "text/html", "hx-boosted": "true"};
          const text = await (await fetch("/elsewhere", {headers})).text();
          const next = new DOMParser().parseFromString(text, "text/html");
          document.body.replaceWith(document.adoptNode(next.body));
        }""")

        expect(page.locator("moe-overlay .path")).to_have_text("/elsewhere")
        expect(pill(page)).to_have_count(1)


def test_no_text_of_others_runs_in_it(sandbox: Sandbox, open_page: OpenPage) -> None:
    for number, text in enumerate(TEXTS):
        payload = {"Title": text, text.replace("\0", "") or "x": {text: text}}
        sandbox.define(f"key-{number}", payload, name=text)
    config = Settings(
        data_center="sandbox",
        identity={"customer_id": {"value": TEXTS[0]}},
        attributes={"sku": {"value": TEXTS[1]}},
        routes=[{"path": "/", "experiences": [f"key-{n}" for n in range(len(TEXTS))]}],
        events={"outbox": "memory:"},
        fetch={"timeout": 5},
        development={"overlay": "on"},
    )

    async def handler(request: Request) -> Response:
        # No policy: only what it does itself keeps it from running a text.
        return HTMLResponse("<!doctype html><link rel=icon href=data:,>")

    app = MoEngageMiddleware(Starlette(routes=[Route("/", handler)]), config)
    with serving(app) as url:
        page = open_page(url)
        page.add_init_script("window.hits = []; window.hit = n => hits.push(n)")
        page.goto(f"/?{TEXTS[1]}#{TEXTS[2]}")
        pill(page).click()
        until(
            page,
            "document.querySelector('moe-overlay').shadowRoot"
            f".querySelectorAll('li').length === {len(TEXTS)}",
        )
        root = "document.querySelector('moe-overlay').shadowRoot"
        tags = page.evaluate(
            f"[...new Set([...{root}.querySelectorAll('*')].map(e => e.localName))]"
        )

        assert not {"script", "img", "iframe", "svg", "base", "meta"} & {*tags}
        assert page.evaluate("hits") == []
        values = page.locator("moe-overlay .values dd").all_text_contents()
        # One of them is a template, which the sandbox withholds.
        assert {one for one in TEXTS if "{{" not in one} <= {*values}
