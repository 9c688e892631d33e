"""Previews for QA: opened by a signed link, used, left, and refused to all others."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import Result
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from moe_middleware import Source
from moe_middleware.browser.preview_links import (
    COOKIE,
    Preview,
    PreviewLinks,
    Refusal,
)
from moe_middleware.cli.preview import preview as command
from moe_middleware.sandbox import Sandbox
from moe_middleware.sandbox.workspace.sample import sample_text

from ..cli_runner import cli_runner
from ..rows import each
from ..sites import Clock, Site, rendered

KEY = "homepage-banner"
SECRET = "a secret of the tests alone"
NOW = 1_800_000_000.0
PAYLOAD = {"Title": "Forced & shown", "Count": 3, "Flags": {"new": True}}


def a_preview(**fields: Any) -> Preview:
    defaults: dict[str, Any] = {
        "key": KEY,
        "variation": "B",
        "payload": PAYLOAD,
        "target": "/",
        "expires_at": int(NOW) + 3600,
    }
    return Preview(**(defaults | fields))


def links(*secrets: str, clock: Callable[[], float] = lambda: NOW) -> PreviewLinks:
    return PreviewLinks(secrets or (SECRET,), path="/_moe/p/", clock=clock)


def token(*secrets: str, **fields: Any) -> str:
    link = links(*secrets).make(a_preview(**fields))
    return link.removeprefix("/_moe/p/")


# --- links -------------------------------------------------------------------


def test_a_link_says_all_that_is_shown_and_nothing_to_count() -> None:
    link = links().make(a_preview())
    shown = a_preview().experience

    assert re.fullmatch(r"/_moe/p/[\w.-]+", link)
    assert links().read(link.removeprefix("/_moe/p/")) == a_preview()
    assert shown and shown.source is Source.PREVIEW
    assert (shown.reason, dict(shown.experience_context)) == (None, {})
    assert shown["Title"] == "Forced & shown"


@pytest.mark.parametrize(
    ("after", "read"), [(3599.9, a_preview()), (3600, Refusal.EXPIRED)]
)
def test_it_ends_to_the_second(after: float, read: object) -> None:
    assert links(clock=lambda: NOW + after).read(token()) == read


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"target": "https://evil.example/"}, "no path of a site"),
        ({"payload": {}}, "the payload is empty"),
        ({"payload": {"Noise": os.urandom(4000).hex()}}, "too large for a cookie"),
        ({"variation": "B\nforged_line"}, "leave out controls"),
    ],
)
def test_links_that_cannot_work_are_not_made(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        links().make(a_preview(**fields))


# --- a site ------------------------------------------------------------------

TWO = f"""
{{%- experience "{KEY}" as hero -%}}
<h1>{{{{ hero.Title }}}}</h1><a href="{{{{ hero.click_url("/shop", "Shop") }}}}">go</a>
{{%- endexperience -%}}
{{%- experience "promo-strip" as promo -%}}
<p>{{{{ promo.Text }}}}</p><a href="{{{{ promo.click_url("/promo", "Promo") }}}}">go</a>
{{%- endexperience -%}}
{{{{ request.state.experiences.badge() }}}}{{{{ request.state.experiences.badge() }}}}
"""
ROUTES = [{"path": "/", "experiences": [KEY, "promo-strip"]}]


def a_site(handler: Any = None, **sections: Any) -> Site:
    given = {"secret_key": SECRET, "routes": ROUTES, **sections}
    return Site(handler or rendered(TWO), clock=Clock(NOW), **given)


async def look(site: Site, opened: str, **headers: str) -> httpx.Response:
    cookie = f"customer_id=alice; {COOKIE}={opened}"
    return await site.get(headers={"cookie": cookie, **headers})


async def test_a_link_is_opened(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    opened = token(target="/products/té?a=b#c")

    answer = await a_site().get(f"/_moe/p/{opened}")
    https = await a_site().get(f"/_moe/p/{opened}", base_url="https://shop.example")

    assert answer.status_code == 302
    assert dict(answer.headers) == {
        "location": "/products/t%C3%A9?a=b#c",
        "content-length": "0",
        "cache-control": "no-store",
        "referrer-policy": "strict-origin-when-cross-origin",
        "x-robots-tag": "noindex, nofollow",
        "set-cookie": f"{COOKIE}={opened}; Max-Age=3600; Path=/; HttpOnly; "
        "SameSite=Lax",
    }
    assert https.headers["set-cookie"].endswith("; SameSite=Lax; Secure")
    assert f"preview_opened key={KEY} variation=B" in caplog.text


async def test_its_browser_is_shown_what_is_forced_and_others_are_not(
    sandbox: Sandbox,
) -> None:
    site = a_site()
    before = await site.get(customer="alice")
    page = await look(site, token())
    after = await site.get(customer="alice")

    assert "<h1>Forced &amp; shown</h1>" in page.text
    [promo] = re.findall("<p>.*?</p>", page.text)
    assert promo in before.text
    assert page.headers["server-timing"].startswith('moe;desc="preview"')
    assert page.text.count("Preview of homepage-banner, B") == 1
    assert '<a href="/_moe/p/leave"' in page.text
    titles = [re.findall("<h1>.*?</h1>", one.text) for one in (before, after)]
    assert titles[0] == titles[1] != []
    assert "Forced" not in after.text and "Preview of" not in after.text


async def test_a_badge_looks_right_where_a_policy_forbids_styles_in_elements(
    sandbox: Sandbox,
) -> None:
    page = await look(site := a_site(), token())
    found = re.search(r'<link rel="stylesheet" href="(/_moe/p/\w+\.css)">', page.text)
    assert found is not None
    whole = await site.get(found[1])
    head = await site.request("HEAD", found[1])

    assert "style=" not in page.text
    assert ".moe-preview{position:fixed" in whole.text
    assert whole.headers["content-type"] == "text/css; charset=utf-8"
    assert whole.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert (whole.status_code, head.status_code, head.text) == (200, 200, "")
    assert whole.headers == head.headers


async def test_nothing_of_a_preview_is_counted(sandbox: Sandbox) -> None:
    async def handler(request: Request) -> Response:
        found = request.state.experiences
        found.show("promo-strip")
        tracked = [found.track_impression(KEY), found.track_click("promo-strip", "x")]
        link = found["promo-strip"].click_url("/promo", "Promo")
        return JSONResponse([*tracked, link])

    site = a_site(handler)
    page = await look(site, token())
    shown = await look(a_site(), token())
    await site.delivered()

    assert page.json() == [None, None, "/promo"]
    assert shown.text.count("/_moe/c/") == 0
    assert sandbox.events == []


@pytest.mark.parametrize("own", [None, "public, max-age=600", "private, max-age=60"])
async def test_a_preview_is_kept_by_no_cache(sandbox: Sandbox, own: str | None) -> None:
    async def handler(request: Request) -> Response:
        title = request.state.experiences[KEY].get("Title")
        return JSONResponse(title, headers={"cache-control": own} if own else None)

    page = await look(a_site(handler), token())

    assert page.headers.get_list("cache-control") == ["no-store"]
    assert page.json() == "Forced & shown"


async def test_it_shows_without_the_api_without_consent_and_to_headless_browsers(
    sandbox: Sandbox,
) -> None:
    pages = [
        await look(a_site(consent={"given_by": {"cookie": "consent"}}), token()),
        await look(a_site(), token(), **{"user-agent": "HeadlessChrome/131"}),
    ]
    sandbox.fault("fetch", status=500)
    pages.append(await look(a_site(fetch={"tries": 1}), token()))

    assert all("<h1>Forced &amp; shown</h1>" in page.text for page in pages)


async def test_keys_that_a_handler_waits_for_are_forced_too(sandbox: Sandbox) -> None:
    async def fetches(request: Request) -> Response:
        return JSONResponse((await request.state.experiences.fetch(KEY)).get("Title"))

    async def waits(request: Request) -> Response:
        return JSONResponse((await request.state.experiences.ready())[KEY].Title)

    other = [{"path": "/other", "experiences": ["promo-strip"]}]
    fetched = await look(a_site(fetches, routes=other), token())
    ready = await look(a_site(waits, fetch={"prefetch": "concurrent"}), token())

    assert fetched.json() == ready.json() == "Forced & shown"
    assert fetched.headers["cache-control"] == "no-store"


async def test_it_is_left(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    opened = f"{COOKIE}={token(target='/products')}"

    left = await a_site().get("/_moe/p/leave", headers={"cookie": opened})

    assert (left.status_code, left.headers["location"]) == (302, "/products")
    assert left.headers["set-cookie"].startswith(f"{COOKIE}=; Max-Age=0; Path=/;")
    assert f"preview_left key={KEY}" in caplog.text
    # Leaving what is not open leads home.
    for cookie in ("", f"{COOKIE}=forged", f"{COOKIE}="):
        home = await a_site().get("/_moe/p/leave", headers={"cookie": cookie})
        assert (home.status_code, home.headers["location"]) == (302, "/")
    # A look at the headers opens and leaves nothing.
    for name in (token(), "leave"):
        path, headers = f"/_moe/p/{name}", {"cookie": opened}
        answer = await a_site().request("HEAD", path, headers=headers)
        assert (answer.status_code, "set-cookie" in answer.headers) == (302, False)


async def test_a_browser_opens_uses_and_leaves_it(sandbox: Sandbox) -> None:
    site = Site(rendered(TWO), routes=ROUTES, secret_key=SECRET)
    opened = token(expires_at=int(time.time()) + 3600)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(site.app),
        base_url="http://shop.example",
        follow_redirects=True,
    ) as browser:
        before = await browser.get("/")
        shown = await browser.get(f"/_moe/p/{opened}")
        again = await browser.get("/")
        after = await browser.get("/_moe/p/leave")

    assert ["Forced" in page.text for page in (before, shown, again, after)] == [
        *(False, True, True, False)
    ]
    assert str(shown.url) == str(after.url) == "http://shop.example/"


# --- attacks -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "reason", "status"),
    [("forged", "not_ours", 404), (token(expires_at=int(NOW)), "expired", 410)],
)
async def test_a_bad_link_opens_nothing(
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
    bad: str,
    reason: str,
    status: int,
) -> None:
    answer = await a_site().get(f"/_moe/p/{bad}")

    assert answer.status_code == status
    assert not {"set-cookie", "location"} & {*answer.headers}
    assert f"preview_refused reason={reason}" in caplog.text
    assert bad not in caplog.text


async def test_without_a_secret_all_is_refused(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    site = a_site(secret_key=None)

    answer = await site.get(f"/_moe/p/{token()}")
    page = await look(site, token())

    assert answer.status_code == 404
    assert "preview_refused reason=no_secret_key" in caplog.text
    assert "Forced" not in page.text


async def test_pages_that_ask_for_nothing_are_left_alone(sandbox: Sandbox) -> None:
    async def plain(_: Request) -> Response:
        return JSONResponse("plain", headers={"cache-control": "public"})

    site = Site(app=Starlette(routes=[Route("/plain", plain)]), secret_key=SECRET)

    page = await site.get("/plain", headers={"cookie": f"{COOKIE}={token()}"})

    assert page.headers["cache-control"] == "public"


# --- the command -------------------------------------------------------------


def run(*arguments: object, **environ: str) -> Result:
    env = {"MOE_DATA_CENTER": "sandbox", "MOE_SECRET_KEY": SECRET, **environ}
    return cli_runner().invoke(command, [str(one) for one in arguments], env=env)


def read(output: str, *, path: str = "/_moe/p/") -> Preview:
    text = output.strip().partition(path)[2]
    found = PreviewLinks((SECRET,), path=path, clock=time.time).read(text)
    assert isinstance(found, Preview)
    return found


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no moe.yml but what a test writes."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def payload(tmp_path: Path) -> Path:
    file = tmp_path / "hero.json"
    file.write_text(json.dumps(PAYLOAD), encoding="utf-8")
    return file


def test_the_command_makes_a_link_of_a_file(payload: Path) -> None:
    url = "https://shop.example/products?sort=new"

    ran = run("hero", "--variation", "B", "--payload", payload, "--url", url)

    assert ran.exit_code == 0, ran.output
    assert ran.stdout.startswith("https://shop.example/_moe/p/")
    assert ran.stdout.count("\n") == 1
    made = read(ran.stdout)
    assert (made.key, made.variation, made.payload) == ("hero", "B", PAYLOAD)
    assert made.target == "/products?sort=new"
    assert "shows hero, variation B, until 20" in ran.stderr
    assert SECRET not in ran.output


@pytest.mark.parametrize(
    ("expires", "seconds"),
    [([], 3600), (["--expires", "30m"], 1800), (["--expires", "30d"], 30 * 86_400)],
)
def test_it_lasts_as_long_as_is_set(
    tmp_path: Path, payload: Path, expires: list[str], seconds: int
) -> None:
    file = tmp_path / "moe.yml"
    file.write_text("clicks: {path: /ours}\nroutes: []\n", encoding="utf-8")
    before = int(time.time())
    given = ["hero", "--variation", "B", "--payload", payload, "--config", file]
    ran = run(*given, *expires)

    # The settings say where previews are opened.
    assert ran.stdout.startswith("/ours/p/")
    lasts = read(ran.stdout, path="/ours/p/").expires_at - before
    assert seconds <= lasts <= seconds + 60


@pytest.mark.parametrize("name", ["All Users/2", "2B/2"])
def test_a_variation_of_the_workspace_is_found(tmp_path: Path, name: str) -> None:
    file = tmp_path / "workspace.yml"
    file.write_text(sample_text(), encoding="utf-8")

    for option in (["--workspace", file], []):
        ran = run(KEY, "--variation", name, *option)

        assert ran.exit_code == 0, ran.output
        assert read(ran.stdout).payload["Title"] == "Wind down with chamomile"


def test_values_keep_their_types_and_templates_take_attributes() -> None:
    made = read(run("price-badge", "--variation", "Gold members/1").stdout)
    named = ["welcome-back", "--variation", "With a name"]

    assert made.payload["Percent"] == 15
    assert made.payload["Free shipping"] is True
    assert made.payload["Products"] == {"sencha": 15, "earl-grey": 15, "matcha": 20}
    assert "Alice" in str(read(run(*named, "--customer", "alice").stdout).payload)
    assert "Alice" not in str(read(run(*named).stdout).payload)


def test_without_a_secret_there_is_no_link(payload: Path) -> None:
    given = ["hero", "--variation", "B", "--payload", payload]

    ran = run(*given, MOE_SECRET_KEY="")

    assert (ran.exit_code, ran.stdout) == (1, "")
    assert "secret_key: missing" in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([KEY, "--variation", "9"], 1, "write one of Gold members/1, Gold members/2"),
        ([KEY, "--variation", "1"], 1, "several variations are '1'"),
        (["heroo", "--variation", "1"], 1, "heroo: not in the workspace"),
        ([KEY], 1, "give --variation, one of Gold members/1, Gold members/2"),
        ([KEY, "--variation", "1", "--expires", "1w"], 2, "write 30m, 1h or 7d"),
        ([KEY, "--variation", "1", "--expires", "0h"], 2, "write 30m, 1h or 7d"),
        ([KEY, "--variation", "1", "--expires", "31d"], 2, "30 days at most"),
        ([KEY, "--variation", "2B/1", "--url", "shop.example"], 1, "--url"),
        ([KEY, "--variation", "2B/1", "--url", "ftp://shop.example"], 1, "--url"),
        ([KEY, "--variation", "2B/1", "--url", "//shop.example/"], 1, "--url"),
        ([KEY, "--variation", "2B/1", "--customer", "eve"], 1, "alice"),
        ([KEY, "--variation", "1", "--payload", "none.json"], 1, "cannot be read"),
        ([KEY, "--variation", "1", "--workspace", "none.yml"], 1, "none.yml"),
        (
            [KEY, "--variation", "1", "--payload", "x", "--customer", "alice"],
            2,
            "give --payload, or",
        ),
    ],
)
def test_what_is_wrong_is_reported(
    arguments: list[str], code: int, message: str
) -> None:
    ran = run(*arguments)

    assert (ran.exit_code, ran.stdout) == (code, "")
    assert message in ran.stderr


@each(
    ("text", "message"),
    [
        ("[1]", "write one JSON object"),
        ("{", "it is no JSON"),
        ('{"n": NaN}', "it is no JSON"),
        ("[" * 300, "it nests deeper than 200 levels"),
        ("{}", "the payload is empty"),
    ],
)
def test_a_payload_that_is_none_is_refused(text: str, message: str) -> None:
    Path("payload.json").write_text(text, encoding="utf-8")
    ran = run("hero", "--variation", "B", "--payload", "payload.json")

    assert (ran.exit_code, ran.stdout) == (1, "")
    assert message in ran.stderr
