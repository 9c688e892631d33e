from __future__ import annotations

import itertools
import re
from html import unescape
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from demo_app.app import CONFIG, SORRY, build_app
from demo_app.shop import TEAS
from moe_middleware import Settings
from moe_middleware.sandbox import embedded

from ..servers import free_port
from .conftest import OpenShop, eventually


def title(page: str) -> str:
    """Return a page's first headline."""
    found = re.search(r"<h1[^>]*>(.*?)</h1>", page)
    assert found is not None
    return found[1]


def become(shop: TestClient, who: str, back: str = "/") -> None:
    answer = shop.post("/who", data={"customer_id": who, "back": back})
    assert answer.status_code == 303


def counted(shop: TestClient) -> int:
    found = re.search(r'data-total="(\d+)"', shop.get("/counted").text)
    return int(found[1]) if found else -1


def test_every_address_answers_as_what_it_is(shop: TestClient) -> None:
    pages = ["/", "/products", "/cart", "/club", "/counted"]
    kinds = dict.fromkeys(
        (*pages, *(f"/products/{sku}" for sku in TEAS)), "text/html; charset=utf-8"
    )
    kinds |= {
        "/favicon.ico": "image/svg+xml",
        "/static/favicon.svg": "image/svg+xml",
        "/static/shop.css": "text/css",
        "/static/counted.js": "javascript",
        "/static/member.js": "javascript",
        "/sandbox/_sandbox/web_sdk.js": "javascript",
    }
    for path, kind in kinds.items():
        answer = shop.get(path)
        assert answer.status_code == 200, path
        assert kind in answer.headers["content-type"], path

    for method, path, status in (
        ("GET", "/products/coffee", 404),
        ("GET", "/nothing", 404),
        ("GET", "/products/sencha/x", 404),
        ("PUT", "/cart/add", 405),
        ("POST", "/who", 413),
    ):
        answer = shop.request(method, path, content="x" * 3000)
        assert answer.status_code == status, path
        assert title(answer.text) == SORRY[status][0], path


def test_visitors_get_what_is_made_for_them(shop: TestClient) -> None:
    assert "£9.50" in shop.get("/products/sencha").text
    assert "LETTER10" not in shop.get("/").text
    assert "LETTER10" in shop.get("/?utm_medium=email").text
    homes = {}
    for who in ("alice", "dave", "bob", "carol"):
        become(shop, who)
        homes[who] = shop.get("/").text

    assert title(homes["alice"]) != title(homes["dave"])
    assert "Gold members" in homes["alice"]
    assert "Gold members" in homes["dave"]
    texts = homes["bob"] + homes["carol"]
    assert "blended by hand &amp; posted" in texts
    assert "blended by hand & posted" not in texts
    become(shop, "bob")
    page = shop.get("/products/sencha").text
    assert "<ins>£8.50</ins> <del>£9.50</del>" in page
    assert "Silver price" in page


def test_switcher_plays_a_sample_customer_and_goes_back(shop: TestClient) -> None:
    for who, cookie in (("alice", "alice"), ("", None), ("mallory", None)):
        become(shop, who)
        assert shop.cookies.get("customer_id") == cookie
    for back, location in (
        ("/products?utm_medium=email", "/products?utm_medium=email"),
        ("https://evil.example/", "/"),
        ("", "/"),
    ):
        answer = shop.post("/who", data={"customer_id": "bob", "back": back})
        assert answer.headers["location"] == location


def test_cart_adds_and_removes_what_is_sold(shop: TestClient) -> None:
    for form in ({}, {"sku": "coffee"}, {"sku": "../who"}):
        assert shop.post("/cart/add", data=form).status_code == 404
        assert "cart" not in shop.cookies
    for sku in ("sencha", "sencha", "assam"):
        answer = shop.post("/cart/add", data={"sku": sku})
        assert (answer.status_code, answer.headers["location"]) == (303, "/cart")
    full = shop.get("/cart").text
    shop.post("/cart/remove", data={"sku": "sencha"})
    less = shop.get("/cart").text

    assert "2 \N{MULTIPLICATION SIGN} £9.50" in full
    assert "<strong>£26.80</strong>" in full
    assert "<strong>£7.80</strong>" in less
    assert "Sencha</a>" not in less


def test_cart_shows_prices_and_an_upsell_without_counting_them(
    shop: TestClient,
) -> None:
    become(shop, "alice")
    shop.post("/cart/add", data={"sku": "sencha"})
    page = shop.get("/cart").text

    assert eventually(lambda: counted(shop), 1) == 1
    assert {event["experience_key"] for event in embedded().events} == {"promo-strip"}
    assert "Gold price is in these prices" in page
    assert "<strong>£8.00</strong>" in page
    # It waits for a browser that has it on the screen.
    assert 'class="upsell"' in page
    panel = page.partition("What this page got")[2]
    upsell = panel.partition("cart-upsell</th>")[2].partition("</tr>")[0]
    badge = panel.partition("price-badge</th>")[2].partition("</tr>")[0]
    assert "when seen<small>by our script</small>" in upsell
    assert "no<small>only read</small>" in badge
    # None is shown of what is in the cart already.
    for sku in ("matcha", "chamomile"):
        shop.post("/cart/add", data={"sku": sku})
    assert 'class="upsell"' not in shop.get("/cart").text
    assert eventually(lambda: counted(shop), 2) == 2


def test_every_impression_of_a_page_is_counted_once(shop: TestClient) -> None:
    for _ in range(5):
        strip = shop.get("/counted")
    assert strip.headers["cache-control"] == "no-store"
    assert (embedded().calls["fetch"], embedded().events) == (0, [])
    become(shop, "alice")
    shop.get("/")
    first = eventually(lambda: counted(shop), 3)
    shop.get("/products")
    second = eventually(lambda: counted(shop), 5)

    assert (first, second) == (3, 5)
    assert len({event["moe_event_uuid"] for event in embedded().events}) == 5


def test_page_tells_what_it_got_and_why(shop: TestClient) -> None:
    become(shop, "carol")
    shop.get("/")
    panel = shop.get("/").text.partition("What this page got for carol")[2]

    assert "no_match" in panel
    assert "<td>cache</td>" in panel
    assert "<td>once</td>" in panel


def test_shop_is_whole_while_no_server_answers(open_shop: OpenShop) -> None:
    closed = f"http://127.0.0.1:{free_port()}"
    shop = open_shop(MOE_BASE_URL=f"{closed}/v1")
    page, club = shop.get("/").text, shop.get("/club")

    assert title(page) == "Good tea, in good time"
    assert "£9.50" in page
    assert "unreachable" in page
    assert f"The sandbox at {closed} does not answer" in page
    # Its policy lets the page report there.
    policy = club.headers["content-security-policy"]
    assert f"connect-src 'self' {closed}; " in policy
    assert f'<script src="{closed}/_sandbox/web_sdk.js"' in club.text


def test_figures_come_from_a_sandbox_of_its_own(
    open_shop: OpenShop, address: str
) -> None:
    shop = open_shop(MOE_BASE_URL=f"{address}/v1")
    become(shop, "alice")
    shop.get("/")

    assert eventually(lambda: counted(shop), 3) == 3
    assert "Gold members" in shop.get("/counted").text


def test_every_page_sends_a_strict_policy_with_a_nonce_of_its_own(
    shop: TestClient,
) -> None:
    become(shop, "alice")
    nonces = set()
    for path in ("/", "/", "/products", "/products/sencha", "/cart", "/club", "/no"):
        answer = shop.get(path)
        policy = answer.headers["content-security-policy"]
        found = re.search(r"script-src 'nonce-([\w-]{22})'; ", policy)
        assert found is not None
        nonces.add(found[1])
        scripts = re.findall(r"<script ([^>]*)>", answer.text)
        loaded = [one for one in scripts if "application/json" not in one]
        assert len(loaded) >= 2
        assert all(f'nonce="{found[1]}"' in one for one in loaded), path
        assert not re.search(r" (style|on\w+)=", answer.text), path
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy
    assert len(nonces) == 7


def test_visitor_is_asked_for_consent_once(newcomer: TestClient) -> None:
    shop, question = newcomer, "May we remember you?"
    for answer in ("perhaps", "", "yes; Path=/elsewhere"):
        shop.post("/consent", data={"consent": answer})
        assert "consent" not in shop.cookies
        assert question in shop.get("/").text
    # A browser that objects for every site is not asked.
    objects = shop.get("/", headers={"Sec-GPC": "1"}).text
    assert question not in objects
    assert "Your browser asks us not to remember you" in objects
    assert "no<small>no consent</small>" in objects

    given = shop.post("/consent", data={"consent": "yes", "back": "/cart"})
    assert (given.status_code, given.headers["location"]) == (303, "/cart")
    page = shop.get("/").text
    assert question not in page and "Forget me" in page

    shop.post("/consent", data={"consent": "no"})
    page = shop.get("/").text
    assert question not in page and "Remember me" in page


def test_club_leaves_the_counting_to_the_web_sdk(shop: TestClient) -> None:
    become(shop, "alice")
    page = shop.get("/club").text
    shop.get("/products/sencha")

    assert 'src="/sandbox/_sandbox/web_sdk.js"' in page
    assert 'data-customer-id="alice"' in page
    assert "in the page<small>by the Web SDK</small>" in page
    # Those of the tea alone.
    assert eventually(lambda: counted(shop), 2) == 2


def test_panel_leads_through_all_variations_of_an_experience(shop: TestClient) -> None:
    become(shop, "alice")
    page, seen = shop.get("/").text, []
    for _ in range(4):
        panel = page.partition("homepage-banner</th>")[2]
        link = re.search(r'href="(/_moe/p/[^"]+)">preview ([^<]+)<', panel)
        assert link is not None
        assert shop.get(link[1]).headers["location"] == "/"
        page = shop.get("/").text
        seen.append((link[2], title(page)))

    # It begins behind her own, the first one; behind the last one, that is next.
    assert seen == [
        ("Gold members/2", "A golden cup, on the house"),
        ("All Users/1", "Slow mornings, good tea"),
        ("All Users/2", "Wind down with chamomile"),
        ("Gold members/1", "The first flush is yours"),
    ]
    assert "<td>preview</td>" in page
    # A preview ends when another visitor is played.
    become(shop, "dave")
    page = shop.get("/").text
    assert "moe_preview" not in shop.cookies
    assert "<td>preview</td>" not in page
    assert title(page) == "A golden cup, on the house"


EXPLAINED = re.compile(r'href="(/sandbox/explain[^"]*)"')
GOT = re.compile(
    r'<th scope="row">([^<]+)</th>\s*<td>(?:variation (\d+)<small>([^<]+)</small>)?'
)


def test_link_at_the_foot_explains_this_very_visitor(shop: TestClient) -> None:
    for consent, who in itertools.product(("yes", "no", ""), ("", "alice", "carol")):
        shop.post("/consent", data={"consent": consent})
        become(shop, who)
        shop.get("/")  # mints the id of an anonymous visitor
        for path in ("/", "/?utm_medium=email", "/products/sencha"):
            check_explanation(shop, shop.get(path).text)


def check_explanation(shop: TestClient, page: str) -> None:
    link = EXPLAINED.search(page)
    assert link is not None

    query = unescape(link[1]).partition("?")[2]
    explained = shop.get(f"/sandbox/_sandbox/explain?{query}").json()["experiences"]

    figures = {
        one["experience_key"]: (one["variation_id"], one["audience"])
        for one in explained
        if one["outcome"] == "served"
    }
    got = {key: (number, name) for key, number, name in GOT.findall(page) if number}
    assert len(got) > 0
    assert {key: figures.get(key) for key in got} == got
    assert "hour=" in link[1]
    answer = shop.get(unescape(link[1]), headers={"Accept": "text/html"})
    assert answer.status_code == 200
    assert 'href="/sandbox/events"' in answer.text


def test_unexpected_error_has_a_page_that_needs_nothing(
    tmp_path: Path,
) -> None:
    async def boom(_request: Request) -> Response:
        raise RuntimeError("a mistake in the shop")

    settings = Settings.load(
        CONFIG, environ={"MOE_DEMO_OUTBOX": f"sqlite:///{tmp_path}/outbox.db"}
    )
    app = build_app(settings, {})
    app.router.routes.insert(0, Route("/boom", boom))
    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.get("/boom")

    assert answer.status_code == 500
    assert title(answer.text) == "Something broke on our side"
    assert "six we have" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_real_workspace_has_its_own_reports_pages_and_web_sdk(
    open_shop: OpenShop,
) -> None:
    shop = open_shop(MOE_DATA_CENTER="02", MOE_API_KEY="k", MOE_WORKSPACE_ID="w")
    club = shop.get("/club").text

    assert "does its counting in its own reports" in shop.get("/counted").text
    assert "/sandbox" not in shop.get("/nothing").text
    assert shop.get("/sandbox/").status_code == 404
    assert "web_sdk.js" not in club
    assert "snippet into <code>partials/web_sdk.html</code>" in club
    assert "/_moe/p/" not in club


@pytest.mark.parametrize("answer", ["", "no"])
def test_without_a_yes_nothing_is_counted_and_no_id_leaves_the_server(
    newcomer: TestClient, answer: str, caplog: pytest.LogCaptureFixture
) -> None:
    become(newcomer, "alice")
    newcomer.post("/consent", data={"consent": answer})
    page = newcomer.get("/").text
    newcomer.get("/cart")
    club = newcomer.get("/club").text
    bodies = [one.request_body for one in embedded().requests.latest(9, "fetch")]
    newcomer.post("/consent", data={"consent": "yes"})
    newcomer.get("/")

    # The page after the yes, and none of those before it.
    assert eventually(lambda: counted(newcomer), 3) == 3
    assert {event["customer_id"] for event in embedded().events} == {"alice"}
    assert "moe_visitor" not in newcomer.cookies
    assert "Without consent, alice gets what every visitor gets." in page
    assert "a visitor without consent" in page
    assert "All Users" in page
    assert "Gold members</small>" not in page
    assert "no<small>no consent</small>" in page
    assert "/_moe/c/" not in page
    assert not re.search(r"web_sdk\.js|member\.js", club)
    assert "web_sdk_not_told" not in caplog.text
    assert len(bodies) == 2
    assert not any(b"alice" in body or b"visitor_id" in body for body in bodies)
