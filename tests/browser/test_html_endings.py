"""A preview's badge is seen on the page and in nothing else, wherever tags stand."""

from __future__ import annotations

import gzip
import io
import re
import time
from collections.abc import AsyncIterator
from typing import Any
from wsgiref.util import FileWrapper

import httpx
import pytest
from jinja2 import Environment
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from moe_middleware import MoEngageMiddleware, MoEngageWSGIMiddleware
from moe_middleware.browser.preview_links import COOKIE, Preview, PreviewLinks
from moe_middleware.sandbox import Sandbox

from ..sites import Site, settings

KEY = "homepage-banner"
SECRET = "a-secret-for-this-test-and-no-other"
TAG = '{% experience "homepage-banner" as hero %}{{ hero.Title }}{% endexperience %}'
BADGE = "Preview of homepage-banner, B"
LINK = '<link rel="stylesheet"'


def opened() -> str:
    links = PreviewLinks([SECRET], path="/_moe/p/", clock=time.time)
    preview = Preview(KEY, "B", {"Title": "Forced"}, "/", int(time.time()) + 60)
    return links.make(preview).removeprefix("/_moe/p/")


def rendered(template: str, request: Any) -> str:
    env = Environment(
        autoescape=True, extensions=["moe_middleware.jinja.MoEngageExtension"]
    )
    return env.from_string(template).render(request=request)


def site(handler: Any, *middleware: Middleware) -> Site:
    app = Starlette(routes=[Route("/", handler)], middleware=[*middleware])
    return Site(app=app, secret_key=SECRET)


async def look(shop: Site, **headers: str) -> httpx.Response:
    cookie = f"customer_id=alice; {COOKIE}={opened()}"
    return await shop.get(headers={"cookie": cookie, **headers})


PAGES = {
    "title": f"<title>{TAG}</title><h1>x</h1>",
    "attribute": f"<!doctype html><body class='{TAG}'><h1>{TAG}</h1></body></html>",
    "textarea": f"<html><textarea>{TAG}</textarea></html>",
    "script": f"<html><script>let a = '{TAG}</body>';</script></html>",
    "comment": f"<html><!-- {TAG} --></html>",
    "nothing": "<html></html>",
    "no document": f"<h1>{TAG}</h1>",
}


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
async def test_it_stands_behind_the_page_and_nowhere_in_it(
    sandbox: Sandbox, page: str
) -> None:
    async def handler(request: Request) -> Response:
        return HTMLResponse(rendered(page, request))

    answer = await look(site(handler))

    body, found, badge = answer.text.partition(LINK)
    assert body == page.replace(TAG, "Forced") and found
    assert badge.count(BADGE) == 1 and badge.endswith("</span>")
    assert answer.headers.get("content-length", str(len(answer.content))) == str(
        len(answer.content)
    )


@pytest.mark.parametrize(
    ("headers", "part"),
    [
        ({"hx-request": "true"}, True),
        ({"sec-fetch-dest": "empty"}, True),
        ({"x-requested-with": "XMLHttpRequest"}, True),
        ({"turbo-frame": "cart"}, True),
        ({"sec-fetch-dest": "document"}, False),
        ({"sec-fetch-dest": "iframe"}, False),
        ({}, False),
    ],
    ids=str,
)
async def test_a_part_that_a_script_asks_for_has_none_and_a_whole_page_has(
    sandbox: Sandbox, headers: dict[str, str], part: bool
) -> None:
    async def handler(request: Request) -> Response:
        # Turbo and htmx ask for whole pages, for a visit.
        begin = "<!DOCTYPE html>" if request.url.query else ""
        return HTMLResponse(rendered(f"{begin}<li>{TAG}</li>", request))

    shop = site(handler)
    cookie = f"customer_id=alice; {COOKIE}={opened()}"
    whole = await shop.get("/?whole", headers={"cookie": cookie, **headers})

    assert (BADGE not in (await look(shop, **headers)).text) == part
    assert BADGE in whole.text


async def test_a_stream_ends_with_it(sandbox: Sandbox) -> None:
    async def handler(request: Request) -> Response:
        async def parts() -> AsyncIterator[str]:
            for part in ("<!doc", f"type html><p>{rendered(TAG, request)}", "</p>"):
                yield part

        return StreamingResponse(parts(), media_type="text/html")

    answer = await look(site(handler), **{"sec-fetch-dest": "empty"})

    assert answer.text.startswith("<!doctype html><p>Forced</p><link")
    assert answer.text.count(BADGE) == 1


@pytest.mark.parametrize("status", [200, 404, 500])
async def test_a_page_is_not_compressed_within_and_no_304(
    sandbox: Sandbox, status: int
) -> None:
    async def handler(request: Request) -> Response:
        if "if-none-match" in request.headers:
            return Response(status_code=304)
        return HTMLResponse(rendered(f"<html>{TAG * 50}", request), status_code=status)

    shop = site(handler, Middleware(GZipMiddleware))
    conditional = {"accept-encoding": "gzip", "if-none-match": '"a"'}
    answer = await look(shop, **conditional)

    assert answer.status_code == status and BADGE in answer.text
    plain = await shop.get(headers={"accept-encoding": "gzip"})
    assert BADGE not in plain.text and plain.headers["content-encoding"] == "gzip"


async def test_what_comes_compressed_is_left_as_it_is_and_reported_once(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(request: Request) -> Response:
        badge = "{{ request.state.experiences.badge() }}" if request.url.query else ""
        body = gzip.compress(rendered(f"<html>{badge}{TAG}", request).encode())
        return HTMLResponse(body, headers={"content-encoding": "gzip"})

    shop = site(handler)
    part = await look(shop, **{"sec-fetch-dest": "empty"})
    # A page with a badge of its own is fine.
    own = await shop.get("/?own", headers={"cookie": f"{COOKIE}={opened()}"})
    assert BADGE in own.text and missing(caplog) == []
    for _ in range(2):
        assert (await look(shop)).text == part.text == "<html>Forced"

    assert missing(caplog) == ["compressed"]


async def test_a_page_that_the_server_sends_as_a_file_is_reported(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/html")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.pathsend", "path": "/page.html"})

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        pass

    cookie = f"customer_id=alice; {COOKIE}={opened()}".encode()
    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/"}
    scope |= {"headers": [(b"cookie", cookie)], "query_string": b"", "scheme": "http"}
    scope |= {"extensions": {"http.response.pathsend": {}}}
    await MoEngageMiddleware(app, settings(secret_key=SECRET))(scope, receive, send)

    assert missing(caplog) == ["file"]


def missing(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the logged reasons of the pages without a badge."""
    found = (
        re.match(r"preview_badge_missing body=(\w+): ", m) for m in caplog.messages
    )
    return [one[1] for one in found if one]


async def test_an_app_may_place_it_itself(sandbox: Sandbox) -> None:
    async def handler(request: Request) -> Response:
        page = f"<html>{{{{ request.state.experiences.badge() }}}}<h1>{TAG}</h1>"
        return HTMLResponse(rendered(page, request))

    answer = await look(site(handler))

    assert answer.text.startswith(f"<html>{LINK}") and answer.text.count(BADGE) == 1


@pytest.mark.parametrize("kind", ["list", "lazy", "write", "file"])
def test_the_same_under_the_wsgi_door(
    sandbox: Sandbox, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        found = environ["moe_middleware.experiences"]
        body = f"<html><title>{found[KEY].Title}</title>".encode()
        headers = [("content-type", "text/html"), ("content-length", str(len(body)))]
        write = start_response("200 OK", headers)
        match kind:
            case "write":
                write(body)
                return []
            case "file":
                return environ["wsgi.file_wrapper"](io.BytesIO(body))
        return [body] if kind == "list" else iter([body[:3], body[3:]])

    written: list[bytes] = []
    received: dict[str, str] = {}

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        received.update(headers)
        return written.append

    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/",
        "HTTP_COOKIE": f"customer_id=alice; {COOKIE}={opened()}",
        "wsgi.url_scheme": "http",
        "wsgi.file_wrapper": FileWrapper,
    }
    door = MoEngageWSGIMiddleware(app, config=settings(secret_key=SECRET))
    body = door(environ, start_response)
    text = b"".join([*written, *body]).decode()
    body.close()  # type: ignore[attr-defined]

    assert text.startswith("<html><title>Forced</title>")
    assert (text.count(BADGE), missing(caplog)) == (
        (0, ["file"]) if kind == "file" else (1, [])
    )
    assert "content-length" not in received
