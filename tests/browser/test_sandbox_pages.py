"""The embedded sandbox's pages on the app's own address, at every door."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import flask
import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from moe_middleware import MoEngageMiddleware, MoEngageWSGIMiddleware
from moe_middleware.flask import MoEngage
from moe_middleware.sandbox import Sandbox

HERE = "http://127.0.0.1:8000"
CONFIG: dict[str, Any] = {
    "workspace": {"data_center": "sandbox", "pages": "on"},
    "routes": [{"path": "/", "experiences": ["homepage-banner"]}],
    "events": {"outbox": "memory:"},
}
HTML = {"Accept": "text/html", "User-Agent": "Mozilla/5.0 Firefox/145.0"}
ADDRESS = re.compile(r'(?:href|src|action)="(/[^"#]*)')


async def home(request: Request) -> PlainTextResponse:
    found = request.state.experiences.show("homepage-banner")
    return PlainTextResponse(found.get("Title", "Welcome"))


def shop(config: dict[str, Any] = CONFIG) -> Starlette:
    return Starlette(
        routes=[Route("/", home)],
        middleware=[Middleware(MoEngageMiddleware, config=config)],
    )


def plain_wsgi() -> Any:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]

    return MoEngageWSGIMiddleware(app, config=CONFIG)


def flask_app() -> Any:
    app = flask.Flask(__name__)
    MoEngage(app, CONFIG)
    return app


DOORS: dict[str, Callable[[], Any]] = {
    "asgi": lambda: TestClient(shop()),
    "mounted": lambda: TestClient(Starlette(routes=[Mount("/shop", shop())])),
    "wsgi": lambda: httpx.Client(transport=httpx.WSGITransport(plain_wsgi())),
    "flask": lambda: httpx.Client(transport=httpx.WSGITransport(flask_app())),
}


@pytest.mark.parametrize("door", DOORS)
def test_pages_are_at_the_apps_own_address(sandbox: Sandbox, door: str) -> None:
    own = "/shop/_moe/sandbox" if door == "mounted" else "/_moe/sandbox"
    sandbox.fault("events", latency=0.001)
    with DOORS[door]() as client:
        client.base_url, client.follow_redirects = HERE, True
        client.headers.update(HTML)
        page = client.get(own)
        addresses = set(ADDRESS.findall(page.text))

        assert page.status_code == 200
        assert "<h1>Overview</h1>" in page.text
        assert len(addresses) > 8
        assert all(one.startswith(f"{own}/") for one in addresses)
        assert {client.get(one).status_code for one in addresses} == {200}
        page = client.get(f"{own}/explain?customer_id=alice")
        assert (page.status_code, "alice gets" in page.text) == (200, True)
        page = client.post(f"{own}/faults", data={"preset": "outage"})
        assert (page.status_code, "returns 503" in page.text) == (200, True)
        assert client.get(f"{own}/nothing").status_code == 404


def test_requests_of_the_site_are_on_the_page(sandbox: Sandbox) -> None:
    with TestClient(shop(), base_url=HERE, headers=HTML) as client:
        client.get("/")
        page = client.get("/_moe/sandbox/requests").text

    assert "homepage-banner" in page
    (fetched,) = sandbox.requests.latest(9, "fetch")
    assert fetched.status == 200


@pytest.mark.parametrize(
    "workspace",
    [
        {"data_center": "sandbox"},
        {"data_center": "sandbox", "pages": "off"},
        {
            "data_center": "sandbox",
            "pages": "on",
            "base_url": "http://127.0.0.1:1/v1",
        },
        {"data_center": "02", "id": "w", "api_key": "k", "pages": "on"},
    ],
    ids=["left out", "off", "another server", "a real workspace"],
)
def test_site_without_them_answers_by_itself(workspace: dict[str, str]) -> None:
    config = CONFIG | {"workspace": workspace}
    with TestClient(shop(config), base_url=HERE, headers=HTML) as client:
        answer = client.get("/_moe/sandbox/")

    assert (answer.status_code, answer.text) == (404, "Not Found")


def test_other_sites_pages_have_no_use_of_them() -> None:
    with TestClient(shop(), base_url=HERE, headers=HTML) as client:
        for headers in (
            {"Host": "evil.example"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Origin": "https://evil.example"},
        ):
            assert client.get("/_moe/sandbox/", headers=headers).status_code == 403
