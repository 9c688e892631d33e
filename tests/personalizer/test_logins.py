"""Who logs in or out by a cookie is asked for anew, however a framework writes it."""

from __future__ import annotations

import flask
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from moe_middleware import MoEngageMiddleware, current_experiences
from moe_middleware.flask import MoEngage
from moe_middleware.sandbox import Sandbox

from ..sites import settings

KEY = "homepage-banner"
NAMES = ["alice", "acme, inc", "a@b.example", "müller", 'six"feet', "50%25"]


async def source(request: Request) -> Response:
    return PlainTextResponse(request.state.experiences[KEY].source)


async def log_in(request: Request) -> Response:
    response = PlainTextResponse("in")
    response.set_cookie("customer_id", "somebody else")
    # The last one of a name counts.
    response.set_cookie("customer_id", request.query_params["name"])
    return response


async def log_out(request: Request) -> Response:
    response = PlainTextResponse("out")
    if request.query_params["how"] == "delete":
        response.delete_cookie("customer_id")
    else:
        name = request.cookies["customer_id"]
        response.set_cookie("customer_id", name, max_age=0)
    return response


@pytest.mark.parametrize("how", ["delete", "expire"])
def test_in_starlette(sandbox: Sandbox, how: str) -> None:
    routes = [Route("/", source), Route("/in", log_in), Route("/out", log_out)]
    ours = Middleware(MoEngageMiddleware, config=settings())
    with TestClient(Starlette(routes=routes, middleware=[ours])) as browser:
        for name in NAMES:
            browser.get("/in", params={"name": name})
            seen = [browser.get("/").text, browser.get("/").text]
            cookie = browser.cookies["customer_id"]
            browser.get("/out", params={"how": how})
            browser.cookies.set("customer_id", cookie)
            seen.append(browser.get("/").text)
            browser.get("/in", params={"name": name})
            browser.cookies.clear()
            browser.cookies.set("customer_id", cookie)
            seen.append(browser.get("/").text)
            browser.cookies.clear()

            # Logging in as whom one is changes nothing.
            assert seen == ["api", "cache", "api", "cache"], name


def test_in_flask(sandbox: Sandbox) -> None:
    app = flask.Flask("shop")

    @app.get("/")
    def home() -> str:
        return str(current_experiences()[KEY].source)

    @app.get("/in")
    def enter() -> flask.Response:
        response = flask.make_response("in")
        response.set_cookie("customer_id", flask.request.args["name"])
        return response

    @app.get("/out")
    def leave() -> flask.Response:
        response = flask.make_response("out")
        response.delete_cookie("customer_id")
        return response

    MoEngage(app, settings())
    browser = app.test_client()

    for name in [*NAMES, "東京"]:
        browser.get("/in", query_string={"name": name})
        seen = [browser.get("/").text, browser.get("/").text]
        browser.get("/out")
        browser.get("/in", query_string={"name": name})
        seen.append(browser.get("/").text)

        assert seen == ["api", "cache", "api"], name
