"""The overlay: which pages and browsers get it, what it says, and what it leaves be."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route

from moe_middleware import Experience, MoEngageMiddleware, Reason, SettingsError
from moe_middleware.browser.overlay_access import COOKIE, OverlayLinks
from moe_middleware.browser.overlay_element import overlay_script
from moe_middleware.browser.preview_links import COOKIE as PREVIEW
from moe_middleware.sandbox import Sandbox
from moe_middleware.settings.settings import Settings

from ..cli_runner import cli_runner
from ..rows import each
from ..sites import Site, rendered, settings

KEY = "homepage-banner"
SECRET = "a secret of the overlay's tests alone"
PAGE = """<!doctype html><title>x</title>
{% experience "homepage-banner" as one %}<h1>{{ one.Title }}</h1>{% endexperience %}"""
ON: dict[str, Any] = {"development": {"overlay": "on"}, "secret_key": SECRET}
BY_LINK: dict[str, Any] = {"development": {"overlay": "link"}, "secret_key": SECRET}
OWN_SITE = {"sec-fetch-site": "same-origin"}


def shown(page: httpx.Response | str) -> Any:
    """Return what a page's overlay shows; None without one."""
    text = page if isinstance(page, str) else page.text
    found = re.search(r'<moe-overlay data-page="([^"]*)">', text)
    return json.loads(unescape(found[1])) if found else None


def key_of(page: httpx.Response, key: str = KEY) -> Any:
    return next(one for one in shown(page)["experiences"] if one["key"] == key)


def link(target: str = "/", lasts: int = 60, secret: str = SECRET) -> str:
    links = OverlayLinks([secret], path="/_moe/o/", clock=time.time)
    return links.make(target, int(time.time()) + lasts)


def opened(**fields: Any) -> dict[str, str]:
    """Return the header of a browser that has opened a link."""
    return {"cookie": f"{COOKIE}={link(**fields).rpartition('/')[2]}"}


def site(template: str = PAGE, **sections: Any) -> Site:
    return Site(rendered(template), **(ON | sections))


# --- which browsers ------------------------------------------------------------------

LIVE = {"workspace_id": "W1", "api_key": "k", "base_url": "http://127.0.0.1:1/v1"}


@pytest.mark.parametrize(
    ("overlay", "data_center", "by_link", "gets_it"),
    [
        ("off", "sandbox", False, False),
        ("off", "sandbox", True, False),
        ("link", "sandbox", False, False),
        ("link", "sandbox", True, True),
        ("on", "sandbox", False, True),
        (True, "sandbox", False, True),
        # Visitors of a live workspace never get it.
        ("on", "01", False, False),
        ("on", "01", True, True),
        ("link", "01", False, False),
        ("link", "01", True, True),
    ],
)
async def test_it_is_for_developers_alone(
    sandbox: Sandbox, overlay: object, data_center: str, by_link: bool, gets_it: bool
) -> None:
    where = {"data_center": data_center} | (LIVE if data_center == "01" else {})
    # No fetch: an unmapped page of a live workspace.
    shop = site(development={"overlay": overlay}, routes=[], **where)

    plain = await site(development={"overlay": "off"}, routes=[]).get()
    page = await shop.get(headers=opened() if by_link else {})

    assert (shown(page) is not None) == gets_it
    assert (page.content == plain.content) == (not gets_it)
    assert (page.headers.get("cache-control") == "no-store") == gets_it
    if not gets_it:
        # Not a byte: neither its script nor its endpoints.
        script = (await site(routes=[]).get()).text.partition('src="')[2]
        answers = [await shop.get(script.partition('"')[0])]
        answers += [await shop.request("POST", "/_moe/o/switch", headers=OWN_SITE)]
        assert [answer.status_code for answer in answers] == [404, 404]


@pytest.mark.parametrize(
    ("sections", "doubt"),
    [
        ({"development": {"overlay": "on"}, **LIVE}, "without a secret_key"),
        (
            {"development": {"overlay": "on"}, **LIVE, "secret_key": SECRET},
            "Write link",
        ),
        ({"development": {"overlay": "link"}}, "without a secret_key"),
        ({"development": {"overlay": "link"}, "secret_key": SECRET}, None),
        ({"development": {"overlay": "on"}}, None),
    ],
)
def test_what_keeps_it_from_every_page_is_reported(
    sections: dict[str, Any], doubt: str | None
) -> None:
    data_center = "01" if "base_url" in sections else "sandbox"
    doubts = settings(data_center=data_center, **sections).doubts()

    assert [one.where for one in doubts] == (["development.overlay"] if doubt else [])
    assert not doubt or doubt in str(doubts[0])


def test_another_value_is_a_mistake() -> None:
    with pytest.raises(SettingsError, match=r"development\.overlay"):
        settings(development={"overlay": "always"})


async def test_a_link_opens_it_while_it_lasts(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    shop = site(**BY_LINK)
    other = "another secret of sixteen letters"
    for secret, lasts, status in (
        (other, 60, 404),
        (other, -1, 404),
        (SECRET, -1, 410),
        (SECRET, 60, 302),
    ):
        answer = await shop.get(link("/cart?a=1", lasts, secret))
        again = await shop.get(headers=opened(lasts=lasts, secret=secret))

        assert answer.status_code == status
        assert (shown(again) is not None) == (status == 302)
        assert answer.headers["cache-control"] == "no-store"
        line = "overlay_opened" if status == 302 else "overlay_refused reason="
        assert any(one.startswith(line) for one in caplog.messages)
    assert answer.headers["location"] == "/cart?a=1"
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= {*cookie.split("; ")}
    assert 0 < int(cookie.partition("Max-Age=")[2].split(";")[0]) <= 60
    # A look at a link opens nothing.
    head = await shop.request("HEAD", link())
    assert (head.status_code, "set-cookie" in head.headers) == (302, False)


async def test_tokens_of_other_purposes_open_nothing(sandbox: Sandbox) -> None:
    shop = site(**BY_LINK)
    preview = (await switch(site(), "All Users/2")).headers["set-cookie"]
    token = preview.partition("=")[2].partition(";")[0]

    assert (await shop.get(f"/_moe/o/{token}")).status_code == 404
    assert shown(await shop.get(headers={"cookie": f"{COOKIE}={token}"})) is None
    overlays = link().rpartition("/")[2]
    assert (await shop.get(f"/_moe/p/{overlays}")).status_code == 404
    for elsewhere in ("//evil.example", ""):
        with pytest.raises(ValueError, match="no path of a site"):
            link(elsewhere)


# --- which pages ---------------------------------------------------------------------

DOCUMENT = {"sec-fetch-dest": "document"}
SCRIPT = {"sec-fetch-dest": "empty"}
WHOLE = "<!doctype html><title>x</title>"


@pytest.mark.parametrize(
    ("body", "headers", "has_it"),
    [
        (WHOLE, {}, True),
        (WHOLE, DOCUMENT, True),
        ("<li>no document</li>", DOCUMENT, True),
        # Turbo and htmx replace the whole page.
        (WHOLE, {**SCRIPT, "accept": "text/html, application/xhtml+xml"}, True),
        (WHOLE, {**SCRIPT, "hx-request": "true", "hx-boosted": "true"}, True),
        # Parts of pages.
        ("<li>part</li>", {**SCRIPT, "hx-request": "true"}, False),
        (WHOLE, {**SCRIPT, "accept": "text/html", "turbo-frame": "cart"}, False),
        (WHOLE, {**SCRIPT, "accept": "*/*"}, False),
        ("<li>part</li>", {"hx-request": "true"}, False),
        # A part around the page, and a part within it.
        (WHOLE, {"sec-fetch-dest": "iframe"}, False),
        (WHOLE, {"sec-fetch-dest": "image"}, False),
        (WHOLE, {"range": "bytes=0-9"}, False),
    ],
)
async def test_it_is_on_whole_pages_alone(
    sandbox: Sandbox, body: str, headers: dict[str, str], has_it: bool
) -> None:
    received: list[str] = []

    async def handler(request: Request) -> Response:
        received.extend(request.headers)
        return HTMLResponse(body)

    page = await Site(handler, **ON).get(headers={**headers, "if-none-match": '"a"'})

    assert (shown(page) is not None) == has_it
    assert page.text.startswith(body) and (has_it or page.text == body)
    assert ("if-none-match" in received) == (not has_it)
    length = page.headers.get("content-length")
    assert length == (None if has_it else str(len(body)))


async def test_parts_asked_for_as_a_page_and_looks_at_a_page_have_none(
    sandbox: Sandbox,
) -> None:
    async def handler(request: Request) -> Response:
        return HTMLResponse("<li>part</li>")

    part = await Site(handler, **ON).get(headers={**SCRIPT, "accept": "text/html"})

    assert part.text == "<li>part</li>"
    assert (await site().request("HEAD", "/")).content == b""


@pytest.mark.parametrize(
    "response",
    [
        JSONResponse({"html": WHOLE}),
        HTMLResponse(WHOLE, status_code=204),
        HTMLResponse(WHOLE.encode("utf-16"), media_type="text/html; charset=utf-16"),
        Response(WHOLE.encode("utf-16"), headers={"content-type": "text/html"}),
        Response(WHOLE, media_type="application/xhtml+xml"),
        HTMLResponse(WHOLE, headers={"content-disposition": "Attachment; filename=a"}),
    ],
)
async def test_what_is_no_html_stays_as_it_is(
    sandbox: Sandbox, response: Response
) -> None:
    page = await Site(app=response, **ON).get(headers=DOCUMENT)

    assert page.content == response.body
    assert page.headers["content-type"] == response.headers["content-type"]


async def test_a_stream_has_it_at_its_end_with_what_came_late(sandbox: Sandbox) -> None:
    async def handler(request: Request) -> Response:
        experiences = request.state.experiences

        async def parts() -> AsyncIterator[str]:
            yield WHOLE + "<script>'</body>'</script>"
            experiences.show(KEY)
            await experiences.fetch("promo-strip")
            yield "</html>"

        return StreamingResponse(parts(), media_type="text/html")

    page = await Site(handler, **ON).get()

    assert "'</body>'</script></html><moe-overlay" in page.text
    assert [one["key"] for one in shown(page)["experiences"]] == [KEY, "promo-strip"]
    assert key_of(page)["counts"] == "yes"


async def test_what_comes_compressed_is_left_as_it_is_and_reported_once(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {"content-type": "text/html", "content-encoding": "x"}
    shop = Site(app=Response(b"...", headers=headers), **ON)

    for _ in range(2):
        assert (await shop.get()).content == b"..."
    [logged] = [one for one in caplog.messages if one.startswith("overlay_missing")]
    assert "body=compressed" in logged


async def test_a_file_has_it_without_what_describes_the_apps_own_body(
    sandbox: Sandbox, tmp_path: Any
) -> None:
    file = tmp_path / "page.html"
    file.write_text(WHOLE)
    digests = {"Content-Digest": "sha-256=:x:", "content-md5": "x"}
    # A file's response has an etag, its length and its date.
    shop = Site(app=FileResponse(file, headers=digests), **ON)

    page = await shop.get(headers=DOCUMENT)

    assert shown(page) is not None
    described = {"etag", "last-modified", "content-digest", "content-md5"}
    assert not (described | {"content-length"}) & {*page.headers}


async def test_a_mounted_app_has_it_below_its_own_prefix(sandbox: Sandbox) -> None:
    inner = site().app
    outer = Starlette(routes=[Mount("/shop", inner)])
    transport = httpx.ASGITransport(outer)
    async with httpx.AsyncClient(transport=transport, base_url="http://a") as browser:
        page = await browser.get("/shop/")
        script = page.text.partition('<script src="')[2].partition('"')[0]
        answer = await browser.get(script)

    assert shown(page)["own"] == "/shop/_moe/o/"
    assert script.startswith("/shop/_moe/")
    assert answer.headers["content-type"].startswith("text/javascript")
    assert "private" in answer.headers["cache-control"]


@pytest.mark.parametrize(
    ("policy", "nonce"),
    [
        ("default-src 'self'", None),
        ("script-src 'nonce-Ab+/=='; style-src 'none'", "Ab+/=="),
        ("default-src 'nonce-one'; SCRIPT-SRC 'nonce-two'", "two"),
        ("default-src 'none', script-src-elem 'nonce-three'", "three"),
        ("script-src 'nonce-\"><script>'", None),
    ],
)
async def test_its_script_has_the_pages_nonce(
    sandbox: Sandbox, policy: str, nonce: str | None
) -> None:
    response = HTMLResponse(WHOLE, headers={"content-security-policy": policy})
    page = await Site(app=response, **ON).get()

    found = re.search(r' defer(?: nonce="([^"]*)")?></script>$', page.text)
    assert found is not None and found[1] == nonce


async def test_a_policy_elsewhere_lends_the_nonce_of_our_other_scripts(
    sandbox: Sandbox,
) -> None:
    page = await site(PAGE + "{{ moe_script('by-the-page') }}").get()

    assert page.text.endswith('defer nonce="by-the-page"></script>')


# --- what it says --------------------------------------------------------------------


async def test_it_tells_each_key_of_the_page(sandbox: Sandbox) -> None:
    routes = [
        {"path": "/", "experiences": [KEY, "cart-upsell"]},
        {"path": "/{rest:path}", "experiences": ["promo-strip"]},
    ]
    template = PAGE + "{% experience 'nope' %}{% endexperience %}"
    shop = site(template, routes=routes, attributes={"sku": {"value": "matcha"}})

    page = await shop.get(customer="alice")
    data = shown(page)

    assert data["routes"] == ["/", "/{rest:path}"]
    assert (data["path"], data["status"], data["preview"]) == ("/", 200, None)
    assert 0 < data["waited"] <= data["budget"] == 5000
    assert data["visitor"]["ids"] == [
        {"name": "customer_id", "value": "alice", "source": "cookie customer_id"}
    ]
    assert data["visitor"]["sent"]["sku"] == "matcha"
    banner = key_of(page)
    assert (banner["variation"], banner["audience"]) == ("1", "Gold members")
    assert (banner["source"], banner["reason"]) == ("api", None)
    assert 0 < banner["ms"] <= data["waited"]
    assert banner["payload"]["Title"] == "The first flush is yours"
    assert "Gold members/2" in banner["variations"]
    nope = key_of(page, "nope")
    assert (nope["matches"], nope["reason"]) == (False, "not_requested")
    again = key_of(await shop.get(customer="alice"))
    assert (again["source"], again["ms"]) == ("cache", 0)


async def test_a_key_that_the_page_fetches_has_its_own_time(sandbox: Sandbox) -> None:
    async def handler(request: Request) -> Response:
        await request.state.experiences.fetch("promo-strip")
        return HTMLResponse(WHOLE)

    page = await Site(handler, **ON).get()

    first, later = key_of(page)["ms"], key_of(page, "promo-strip")["ms"]
    assert first > 0 and later > 0
    assert first + later <= shown(page)["waited"] + 0.2  # all three are rounded


async def test_a_key_that_nothing_waits_for_is_shown_as_pending(
    sandbox: Sandbox,
) -> None:
    sandbox.fault(latency=2)
    shop = Site(app=HTMLResponse(WHOLE), fetch={"prefetch": "concurrent"}, **ON)

    assert key_of(await shop.get())["reason"] == "not_ready"


@pytest.mark.parametrize(
    ("cookie", "who"),
    [
        ("customer_id=alice", ["customer_id"]),
        ("moe_uuid=0a1b2c3d-0000-4000-8000-000000000000", ["visitor_id"]),
        ("", ["visitor_id"]),
    ],
)
async def test_the_visitor_is_the_requests_own(
    sandbox: Sandbox, cookie: str, who: list[str]
) -> None:
    page = await site().get(headers={"cookie": cookie} if cookie else {})

    ids = shown(page)["visitor"]["ids"]
    assert [one["name"] for one in ids] == who
    value = ids[0]["value"]
    if cookie:
        assert value == cookie.partition("=")[2]
        assert ids[0]["source"] == f"cookie {cookie.partition('=')[0]}"
    else:
        assert value in page.headers["set-cookie"]
        assert ids[0]["source"] == "cookie moe_visitor, new"


async def test_no_visitor_is_looked_up_only_to_be_shown(sandbox: Sandbox) -> None:
    page = await site(routes=[]).get(customer="alice")

    assert shown(page)["visitor"] == {"is": "unknown"}
    assert "set-cookie" not in page.headers
    assert "alice" not in page.text


async def test_what_the_app_adds_is_shown_and_cannot_break_it(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError("of alice")

    async def handler(request: Request) -> Response:
        values = {"list": [1, {"a": None}], "odd": Odd() if request.url.query else "x"}
        request.state.experiences.add([Experience(key="own", payload=values)])
        return HTMLResponse(WHOLE)

    shop = Site(handler, **ON)

    assert key_of(await shop.get(), "own")["payload"]["list"] == '[1, {"a": null}]'
    broken = await shop.get("/?odd")
    assert (broken.status_code, broken.text) == (200, WHOLE)
    assert any(m.startswith("overlay_failed error=Runtime") for m in caplog.messages)
    assert "alice" not in caplog.text


def test_it_has_a_sentence_for_every_reason() -> None:
    _, script = overlay_script()
    named = re.findall(r"^    (\w+): \"", script.decode(), re.M)

    assert sorted(named) == sorted(Reason)


# --- whether it counts: its word is what happens -------------------------------------

CHROME = "Mozilla/5.0 (X11; Linux x86_64) Chrome/145.0.0.0 Safari/537.36"
SHOWN = '{% experience "homepage-banner" as one %}{{ one.Title }}{% endexperience %}'
TRACKED = "{{ request.state.experiences.track_impression('homepage-banner') }}"
SITUATIONS: dict[str, dict[str, Any]] = {
    "shown": {},
    "anonymous": {"customer": None},
    "only read": {"template": "{{ request.state.experiences['homepage-banner'] }}"},
    "impression=false": {
        "template": SHOWN.replace(" as one", " as one impression=false")
    },
    "not found": {"status": 404},
    "prefetched": {"headers": {"sec-purpose": "prefetch"}},
    "a bot": {"headers": {"user-agent": "Googlebot/2.1"}},
    "a bot that gets it": {
        "headers": {"user-agent": "Googlebot/2.1"},
        "bots": {"personalize": "on"},
    },
    "count(False)": {
        "template": "{{ request.state.experiences.count(False) }}" + SHOWN
    },
    "no id": {"customer": None, "identity": {"anonymous": "off"}},
    "no consent": {"consent": {"given_by": {"cookie": "yes"}}},
    "no consent, but served": {
        "consent": {"given_by": {"cookie": "yes"}, "without": "anonymous"}
    },
    "tracked": {"template": TRACKED},
    "tracked and shown": {"template": TRACKED + SHOWN},
    "visible": {
        "template": SHOWN.replace(
            "{{ one.Title }}", "<p {{ one.attrs() }}></p>"
        ).replace(" as one", " as one impression='visible'")
    },
    "by the Web SDK": {
        "template": SHOWN.replace(" as one", " as one impression='web_sdk'")
        + "{{ moe_web_sdk() }}"
    },
    "a preview": {"preview": True},
    "no match": {"key": "cart-upsell", "customer": None},
    "failed": {"fault": 500},
}


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("overlay", ["on", "off"])
async def test_what_it_says_of_counting_is_what_happens(
    sandbox: Sandbox, situation: str, overlay: str
) -> None:
    given = {**SITUATIONS[situation]}
    key, status = given.pop("key", KEY), given.pop("status", 200)
    template = WHOLE + given.pop("template", SHOWN).replace(KEY, key)
    headers = {"user-agent": CHROME, **given.pop("headers", {})}
    customer, fault = given.pop("customer", "alice"), given.pop("fault", None)
    cookies = [f"customer_id={customer}"] if customer else []
    if given.pop("preview", False):
        preview = (await switch(site(), "All Users/2")).headers["set-cookie"]
        cookies.append(preview.partition(";")[0])
    if cookies:
        headers["cookie"] = "; ".join(cookies)
    if fault is not None:
        sandbox.fault("fetch", status=fault, times=None)
    render = rendered(template)

    async def handler(request: Request) -> Response:
        response = await render(request)
        response.status_code = status
        return response

    identity = {"customer_id": {"cookie": "customer_id"}, **given.pop("identity", {})}
    shop = Site(
        handler,
        routes=[{"path": "/", "experiences": [key]}],
        identity=identity,
        **(ON | {"development": {"overlay": overlay}} | given),
    )
    page = await shop.get(headers=headers)
    await shop.delivered()

    counted = sandbox.impressions(key)
    assert counted == (situation in COUNTED)
    if overlay == "on":
        about = key_of(page, key)
        later = {"visible", "by the Web SDK"}
        word = "yes" if counted else "later" if situation in later else "no"
        assert (about["counts"], bool(about["why"])) == (word, True)


COUNTED = {"shown", "anonymous", "tracked", "tracked and shown"}


# --- the sandbox -------------------------------------------------------------------


async def test_it_links_to_the_sandboxs_explanation(sandbox: Sandbox) -> None:
    config = Settings(
        workspace={"data_center": "sandbox", "pages": "on"},
        identity={
            "customer_id": {"cookie": "customer_id"},
            "user_identifiers": {"u_em": {"value": "a@b.example"}},
        },
        attributes={"utm_medium": {"query": "utm_medium"}},
        routes=[{"path": "/", "experiences": [KEY]}],
        events={"outbox": "memory:"},
        fetch={"timeout": 5},
        **ON,
    )
    shop = site()
    shop.app = MoEngageMiddleware(
        Starlette(routes=[Route("/", rendered(PAGE))]), config
    )

    page = await shop.get("/?utm_medium=email", customer="alice")
    email = {"name": "u_em", "value": "a@b.example", "source": "value"}
    assert shown(page)["sandbox"] == "/_moe/sandbox/"
    assert shown(page)["visitor"]["ids"][1] == email
    address = key_of(page)["explain"]
    assert address.startswith("/_moe/sandbox/explain?")
    fields = parse_qs(urlsplit(address).query)
    assert fields["customer_id"] == ["alice"]
    assert fields["identifiers"] == ["u_em=a@b.example"]
    assert fields["session"] == ["utm_medium=email"]
    assert fields["experience"] == [KEY]
    answer = await shop.get(address, base_url="http://127.0.0.1")
    assert answer.status_code == 200 and "Gold members" in answer.text

    anonymous = await shop.get()
    ids = {one["name"]: one["value"] for one in shown(anonymous)["visitor"]["ids"]}
    fields = parse_qs(urlsplit(key_of(anonymous)["explain"]).query)
    assert fields["visitor_id"] == [ids["visitor_id"]]


@pytest.mark.parametrize("address", [None, "http://127.0.0.1:8787"])
async def test_a_sandbox_elsewhere_has_its_pages_there(address: str | None) -> None:
    where = {"base_url": f"{address}/v1"} if address else {}
    page = await site(routes=[], **where).get()

    assert shown(page)["sandbox"] == (f"{address}/" if address else None)


async def switch(
    shop: Site, variation: str, *, cookie: str = "", **fields: str
) -> httpx.Response:
    sent = {"key": KEY, "variation": variation, "back": "/", **fields}
    headers = {**OWN_SITE, "cookie": cookie}
    return await shop.request("POST", "/_moe/o/switch", headers=headers, data=sent)


async def test_it_switches_to_another_variation_and_back(sandbox: Sandbox) -> None:
    shop = site()

    answer = await switch(shop, "All Users/2", back="/?a=1")
    cookie = answer.headers["set-cookie"].partition(";")[0]
    page = await shop.get(headers={"cookie": cookie})

    assert (answer.status_code, answer.headers["location"]) == (302, "/?a=1")
    assert cookie.startswith(f"{PREVIEW}=")
    assert shown(page)["preview"] == {"key": KEY, "variation": "All Users/2"}
    banner = key_of(page)
    assert (banner["source"], banner["variation"]) == ("preview", "All Users/2")
    # The badge is within: for a browser that runs no script.
    assert re.search(r'<moe-overlay [^>]*><link .*class="moe-preview"', page.text)
    back = await switch(shop, "", back="/b", cookie=cookie)
    assert (back.status_code, back.headers["location"]) == (302, "/b")
    assert f"{PREVIEW}=; Max-Age=0" in back.headers["set-cookie"]


@each(
    ("fields", "status"),
    [
        ({"variation": "No such/1"}, 404),
        ({"key": "no-such-key"}, 404),
        ({"back": "https://evil.example/"}, 400),
        ({"more": "1"}, 400),
        ({"back": "/" + "a" * 20_000}, 413),
    ],
)
async def test_a_switch_that_is_not_its_own_is_refused(
    fields: dict[str, str], status: int
) -> None:
    answer = await switch(site(), **{"variation": "All Users/2", **fields})

    assert answer.status_code == status
    assert not {"set-cookie", "location"} & {*answer.headers}


async def test_what_cannot_be_shown_says_why(sandbox: Sandbox) -> None:
    large = "".join(map(chr, range(0x4E00, 0x6000)))
    sandbox.define("large", {"Title": large})
    sandbox.define("named", {"Title": "{{ UserAttribute['first_name'] }}"})

    answers = [
        await switch(site(), "All Users/1", key="large"),
        await switch(site(), "All Users/1", key="named"),
    ]

    assert [one.status_code for one in answers] == [409, 409]
    assert "too large for a cookie" in answers[0].text
    assert "withhold" in answers[1].text
    served = await switch(
        site(), "All Users/1", key="named", cookie="customer_id=alice"
    )
    assert served.status_code == 302


async def test_without_a_secret_it_shows_and_switches_nothing(sandbox: Sandbox) -> None:
    shop = site(secret_key=None)
    page = await shop.get()

    assert key_of(page)["variations"] == []
    assert shown(page)["previews"] is False
    assert (await switch(shop, "All Users/2")).status_code == 404
    assert (await shop.get(link())).status_code == 404


# --- the command ---------------------------------------------------------------------


def test_the_command_prints_a_link_that_opens_it(tmp_path: Any) -> None:
    file = tmp_path / "moe.yml"
    head = "workspace: {data_center: sandbox}\nroutes: []\n"
    file.write_text(f"{head}development: {{overlay: link}}\nsecret_key: {SECRET}\n")

    from moe_middleware.cli import main

    def run(*words: str) -> Any:
        return cli_runner().invoke(main, ["overlay", "--config", str(file), *words])

    made = run("--url", "https://shop.example/cart", "--expires", "30m")
    links = OverlayLinks([SECRET], path="/_moe/o/", clock=time.time)
    found = links.read(made.stdout.strip().rpartition("/")[2])

    assert made.stdout.startswith("https://shop.example/_moe/o/")
    assert not isinstance(found, str)
    assert found[0] == "/cart" and 1_790 < found[1] - time.time() < 1_801
    assert "turns the overlay on, until" in made.stderr
    assert "write https://shop.example/path" in run("--url", "ftp://a/").stderr
    assert "no path of a site" in run("--url", "/a\\b").stderr
    file.write_text(f"{head}development: {{overlay: link}}\n")
    assert "secret_key: missing" in run().stderr
    file.write_text(f"{head}secret_key: {SECRET}\n")
    assert "development.overlay: off" in run().stderr
