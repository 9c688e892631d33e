"""Apps that are mounted somewhere: what we put into their pages leads back to us."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route

from moe_middleware import MoEngageMiddleware, MoEngageWSGIMiddleware
from moe_middleware.browser.preview_links import COOKIE, Preview, PreviewLinks
from moe_middleware.models.urls import mounted_at
from moe_middleware.sandbox import Sandbox

from .rows import each
from .sites import settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

KEY = "homepage-banner"
SECRET = "a secret of these tests alone"
OWN_PATHS = re.compile(r'"([^"]*/_moe/[^"]*)"')


def wanted() -> Any:
    return settings(
        secret_key=SECRET,
        identity={"visitor_id": {"cookie": "visitor"}},
        routes=[{"path": "/", "experiences": [KEY]}],
    )


def page_of(experiences: Any) -> str:
    banner = experiences.show(KEY)
    return (
        f'<a href="{banner.click_url("/shop/tea", "Link")}" {banner.attrs("Mark")}>'
        f"{experiences.script()}{experiences.web_sdk(KEY)}{experiences.badge()}"
    )


async def handler(request: Request) -> Response:
    return HTMLResponse(page_of(request.state.experiences))


def asgi(root_path: str) -> httpx.AsyncClient:
    """Return a browser for a site whose server tells it where it is mounted."""
    app = MoEngageMiddleware(
        Starlette(routes=[Route("/{rest:path}", handler)]), config=wanted()
    )
    transport = httpx.ASGITransport(app, root_path=root_path)
    return httpx.AsyncClient(transport=transport, base_url="http://shop.example")


def sub_app() -> httpx.AsyncClient:
    """Return a browser for a site that is a part of another one."""
    inner = MoEngageMiddleware(
        Starlette(routes=[Route("/{rest:path}", handler)]), config=wanted()
    )
    app = Starlette(routes=[Mount("/shop", inner)])
    transport = httpx.ASGITransport(app)
    return httpx.AsyncClient(transport=transport, base_url="http://shop.example")


def wsgi(script_name: str) -> httpx.Client:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/html")])
        return [page_of(environ["moe_middleware.experiences"]).encode()]

    transport = httpx.WSGITransport(
        MoEngageWSGIMiddleware(app, config=wanted()), script_name=script_name
    )
    return httpx.Client(transport=transport, base_url="http://shop.example")


@pytest.mark.parametrize("given", ["/shop", "/shop/"])
async def test_all_of_ours_lies_below_the_mount(given: str, sandbox: Sandbox) -> None:
    async with asgi(given) as browser:
        page = await browser.get("/", headers={"cookie": "visitor=anna"})
        found = OWN_PATHS.findall(page.text)

    assert [path.rpartition("/")[0] for path in found] == [
        *("/shop/_moe/c", "/shop/_moe", "/shop/_moe")
    ]


async def test_a_link_of_a_part_of_a_site_is_answered_there(sandbox: Sandbox) -> None:
    async with sub_app() as browser:
        page = await browser.get("/shop/", headers={"cookie": "visitor=anna"})
        link, script, sdk = OWN_PATHS.findall(page.text)
        followed = await browser.get(link, headers={"cookie": "visitor=anna"})
        scripts = [await browser.get(path) for path in (script, sdk)]

    assert followed.headers["location"] == "/shop/tea"
    assert [one.status_code for one in scripts] == [200, 200]


def test_wsgi_apps_have_a_mount_too(sandbox: Sandbox) -> None:
    with wsgi("/shop") as browser:
        page = browser.get("/", headers={"cookie": "visitor=anna"})
        link, script, _ = OWN_PATHS.findall(page.text)
        followed = browser.get(link.removeprefix("/shop"))

    assert script.startswith("/shop/_moe/")
    assert followed.headers["location"] == "/shop/tea"


async def test_a_preview_is_left_below_the_mount(sandbox: Sandbox) -> None:
    links = PreviewLinks([SECRET], path="/_moe/p/", clock=lambda: 0)
    link = links.make(Preview(KEY, "B", {"Title": "x"}, "/shop/", 9**10))
    cookie = {"cookie": f"{COOKIE}={link.rpartition('/')[2]}"}
    async with asgi("/shop") as browser:
        page = await browser.get("/", headers=cookie)
        home = await browser.get("/_moe/p/leave", headers={"cookie": f"{COOKIE}=x"})

    assert 'href="/shop/_moe/p/leave"' in page.text
    assert home.headers["location"] == "/shop/"


@each(
    ("root_path", "prefix"),
    [
        ("", ""),
        ("/", ""),
        ("/shop/", "/shop"),
        ("/tee/grün", "/tee/gr%C3%BCn"),
        ('/a"><script>', "/a%22%3E%3Cscript%3E"),
        ("//evil.example", ""),
        ("/\\evil.example", "/%5Cevil.example"),
        ("javascript:alert(1)", ""),
        ("https://evil.example", ""),
        ("shop", ""),
        ("/a\r\nb", "/a%0D%0Ab"),
    ],
)
def test_a_mount_is_a_path_or_nothing(root_path: str, prefix: str) -> None:
    assert mounted_at(root_path) == prefix
