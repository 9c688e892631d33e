"""The embedded sandbox's pages on the app's own address, at every door."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import flask
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from werkzeug.test import Client as WSGIClient

from moe_middleware import MoEngageMiddleware, MoEngageWSGIMiddleware
from moe_middleware.flask import MoEngage
from moe_middleware.sandbox import embedded

HERE = "http://127.0.0.1:8000"
CONFIG: dict[str, Any] = {
    "workspace": {"data_center": "sandbox", "pages": "on"},
    "routes": [{"path": "/", "experiences": ["homepage-banner"]}],
    "events": {"outbox": "memory:"},
}
HTML = {"Accept": "text/html", "User-Agent": "Mozilla/5.0 Firefox/145.0"}
ADDRESS = re.compile(r'(?:href|src|action)="(/[^"#]*)')

Call = Callable[..., tuple[int, str]]


@pytest.fixture(autouse=True)
def empty_sandbox() -> Iterator[None]:
    embedded().reset()
    yield
    embedded().reset()


async def home(request: Request) -> PlainTextResponse:
    found = request.state.experiences.show("homepage-banner")
    return PlainTextResponse(found.get("Title", "Welcome"))


def shop(config: dict[str, Any] = CONFIG) -> Starlette:
    return Starlette(
        routes=[Route("/", home)],
        middleware=[Middleware(MoEngageMiddleware, config=config)],
    )


def asgi(app: Any) -> Iterator[Call]:
    with TestClient(app, base_url=HERE, headers=HTML) as client:

        def call(path: str, method: str = "GET", **data: str) -> tuple[int, str]:
            answer = client.request(method, path, data=data or None)
            return answer.status_code, answer.text

        yield call


def wsgi(app: Any) -> Iterator[Call]:
    client = WSGIClient(app)

    def call(path: str, method: str = "GET", **data: str) -> tuple[int, str]:
        answer = client.open(
            path,
            base_url=HERE,
            method=method,
            headers=HTML,
            data=data or None,
            follow_redirects=True,
        )
        return answer.status_code, answer.get_data(as_text=True)

    yield call


def plain_wsgi() -> Any:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        environ["moe_middleware.experiences"].show("homepage-banner")
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]

    return MoEngageWSGIMiddleware(app, config=CONFIG)


def flask_app() -> flask.Flask:
    app = flask.Flask(__name__)
    MoEngage(app, CONFIG)
    return app


DOORS: dict[str, Callable[[], Iterator[Call]]] = {
    "asgi": lambda: asgi(shop()),
    "mounted": lambda: asgi(Starlette(routes=[Mount("/shop", shop())])),
    "wsgi": lambda: wsgi(plain_wsgi()),
    "flask": lambda: wsgi(flask_app()),
}


@pytest.mark.parametrize("door", DOORS)
def test_pages_are_at_the_apps_own_address(door: str) -> None:
    prefix = "/shop" if door == "mounted" else ""
    call = next(DOORS[door]())
    embedded().fault("events", latency=0.001)

    status, page = call(f"{prefix}/_moe/sandbox")
    addresses = set(ADDRESS.findall(page))

    assert status == 200
    assert "<h1>Overview</h1>" in page
    assert len(addresses) > 8
    assert all(one.startswith(f"{prefix}/_moe/sandbox/") for one in addresses)
    assert {call(one)[0] for one in addresses} == {200}
    status, page = call(f"{prefix}/_moe/sandbox/explain?customer_id=alice")
    assert (status, "alice gets" in page) == (200, True)
    status, page = call(f"{prefix}/_moe/sandbox/faults", "POST", preset="outage")
    assert (status, "returns 503" in page) == (200, True)
    assert call(f"{prefix}/_moe/sandbox/nothing")[0] == 404


def test_requests_of_the_site_are_on_the_page() -> None:
    call = next(asgi(shop()))
    call("/")

    assert "homepage-banner" in call("/_moe/sandbox/requests")[1]
    (fetched,) = embedded().requests.latest(9, "fetch")
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


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({}, 200),
    ],
)
def test_other_sites_pages_have_no_use_of_them(
    headers: dict[str, str], status: int
) -> None:
    with TestClient(shop(), base_url=HERE, headers=HTML) as client:
        answer = client.get("/_moe/sandbox/", headers=headers)

    assert answer.status_code == status
