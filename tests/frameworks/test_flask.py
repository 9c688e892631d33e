"""The Flask door: its session and its user, read and never written."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import flask
import pytest
from flask import Flask
from flask.testing import FlaskClient

from moe_middleware import (
    DuplicateMiddlewareError,
    MoEngageWSGIMiddleware,
    current_experiences,
)
from moe_middleware.flask import MoEngage
from moe_middleware.sandbox import Sandbox

from ..sites import PAGE, settings

KEY = "homepage-banner"
BY_SESSION = {"customer_id": {"session": "customer"}}


def shop(**sections: Any) -> Flask:
    app = bare_shop()
    events = {"outbox": "memory:", "relay": "off"}
    MoEngage(app, settings(events=events, **sections))
    return app


def bare_shop() -> Flask:
    app = Flask("shop")
    app.secret_key = "secret"
    app.add_url_rule("/", "home", lambda: flask.render_template_string(PAGE))

    @app.get("/who")
    def who() -> str:
        return str(current_experiences().identity.customer_id)

    @app.get("/login/<customer>")
    def login(customer: str) -> str:
        flask.session["customer"] = customer
        return customer

    @app.get("/logout")
    def logout() -> str:
        flask.session.clear()
        return "bye"

    return app


def routes(*paths: str) -> list[dict[str, Any]]:
    return [{"path": path, "experiences": [KEY]} for path in paths]


def door(app: Flask) -> MoEngageWSGIMiddleware:
    found = app.extensions["moe_middleware"]
    assert isinstance(found, MoEngageWSGIMiddleware)
    return found


def test_the_tag_works_in_the_apps_templates(sandbox: Sandbox) -> None:
    app = shop()
    pages = []
    for who in ("alice", "bob"):
        browser = app.test_client()
        browser.set_cookie("customer_id", who)
        # The test client closes a response only where it buffers it.
        pages.append(browser.get("/", buffered=True).text)

    assert pages[0] != pages[1]
    assert "Welcome" not in "".join(pages)
    assert asyncio.run(door(app).runtime.outbox.count()).waiting == 2


def test_plain_wrapping_works_too(sandbox: Sandbox) -> None:
    app = bare_shop()
    app.jinja_env.add_extension("moe_middleware.jinja.MoEngageExtension")
    app.wsgi_app = MoEngageWSGIMiddleware(  # type: ignore[method-assign]
        app.wsgi_app, config=settings()
    )
    browser = app.test_client()
    browser.set_cookie("customer_id", "alice")

    assert "Welcome" not in browser.get("/").text


def test_an_app_factory_calls_init_app(sandbox: Sandbox) -> None:
    moengage = MoEngage(config=settings())
    apps = [bare_shop(), bare_shop()]
    for app in apps:
        moengage.init_app(app)

    assert {app.test_client().get("/").status_code for app in apps} == {200}


def test_an_app_given_twice_explains_itself() -> None:
    app = shop()

    with pytest.raises(DuplicateMiddlewareError, match="once is enough"):
        MoEngage(app, settings())


def test_the_customer_comes_from_the_session(sandbox: Sandbox) -> None:
    app = shop(identity=BY_SESSION, routes=routes("/", "/who"))
    browser = app.test_client()

    assert browser.get("/who").text == "None"
    browser.get("/login/alice")
    assert browser.get("/who").text == "alice"
    browser.get("/logout")
    assert browser.get("/who").text == "None"


def test_a_session_that_is_read_is_not_the_handlers_and_not_saved(
    sandbox: Sandbox,
) -> None:
    app = shop(identity=BY_SESSION)
    browser = app.test_client()
    browser.get("/login/alice")

    response = browser.get("/who")

    # Flask sets both where a handler has touched the session.
    assert "Set-Cookie" not in response.headers
    assert "Vary" not in response.headers


@pytest.mark.parametrize("step", ["/logout", "/login/bob"])
def test_a_login_or_logout_in_the_session_forgets(sandbox: Sandbox, step: str) -> None:
    app = shop(identity=BY_SESSION, routes=routes("/"))
    browser = app.test_client()
    browser.get("/login/alice")

    def fetches(path: str) -> int:
        before = sandbox.calls["fetch"]
        browser.get(path)
        return sandbox.calls["fetch"] - before

    assert [fetches("/"), fetches("/")] == [1, 0]
    browser.get(step)
    browser.get("/login/alice")
    assert fetches("/") == 1


def test_a_database_session_is_opened_within_the_app(sandbox: Sandbox) -> None:
    class Kept(flask.sessions.SessionInterface):
        def open_session(self, app: Any, request: Any) -> Any:
            assert flask.current_app.name == app.name
            return flask.sessions.SecureCookieSession({"customer": "alice"})

        def save_session(self, *_: Any) -> None: ...

    app = bare_shop()
    app.session_interface = Kept()
    MoEngage(app, settings(identity=BY_SESSION, routes=routes("/who")))

    assert app.test_client().get("/who").text == "alice"


def test_without_a_secret_key_nobody_is_signed_in(sandbox: Sandbox) -> None:
    app = shop(identity=BY_SESSION, routes=routes("/who"))
    app.secret_key = None

    assert app.test_client().get("/who").text == "None"


# --- flask_login -----------------------------------------------------------


class User:
    is_authenticated = is_active = True
    is_anonymous = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.crm: Mapping[str, str] = {"number": f"no-{name}"}

    def get_id(self) -> str:
        return self.name


def members(source: dict[str, str]) -> tuple[Flask, FlaskClient]:
    flask_login = pytest.importorskip("flask_login")
    app = shop(identity={"customer_id": source}, routes=routes("/who", "/order"))
    manager = flask_login.LoginManager(app)
    manager.user_loader(User)

    @app.get("/enter/<name>")
    def enter(name: str) -> str:
        flask_login.login_user(User(name))
        return name

    @app.post("/order")
    def order() -> str:
        said = current_experiences().identity.customer_id
        return f"{said} orders {flask.request.form['what']}"

    return app, app.test_client()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param({"user": "name"}, "alice", id="of the user"),
        pytest.param({"user": "crm.number"}, "no-alice", id="inside the user"),
        pytest.param({"session": "_user_id"}, "alice", id="of flask_login's session"),
    ],
)
def test_the_customer_is_flask_logins_user(
    sandbox: Sandbox, source: dict[str, str], expected: str
) -> None:
    _, browser = members(source)

    assert browser.get("/who").text == "None"
    browser.get("/enter/alice")
    assert browser.get("/who").text == expected


def test_what_is_posted_is_left_to_the_handler(sandbox: Sandbox) -> None:
    _, browser = members({"user": "name"})
    browser.get("/enter/alice")

    said = browser.post("/order", data={"what": "tea"}).text

    assert said == "alice orders tea"


def test_without_flask_login_there_is_no_user(sandbox: Sandbox) -> None:
    app = shop(identity={"customer_id": {"user": "name"}}, routes=routes("/who"))

    assert app.test_client().get("/who").text == "None"


def test_flasks_own_context_is_kept_for_a_test(sandbox: Sandbox) -> None:
    with shop().test_client() as browser:
        browser.get("/?q=tea")

        assert flask.request.args["q"] == "tea"


def test_a_streamed_template_sees_its_request(sandbox: Sandbox) -> None:
    app = shop(routes=routes("/stream", "/context"))
    app.add_url_rule("/stream", "stream", lambda: flask.stream_template_string(PAGE))

    def within() -> Any:
        def parts() -> Any:
            yield flask.request.path
            yield current_experiences()[KEY].Title

        return flask.stream_with_context(parts())

    app.add_url_rule("/context", "context", within)
    browser = app.test_client()
    browser.set_cookie("customer_id", "alice")

    title = browser.get("/stream").text.removeprefix("<h1>").removesuffix("</h1>")
    assert "Welcome" not in title
    assert browser.get("/context").text == f"/context{title}"


def test_teardown_runs_once_a_request(sandbox: Sandbox) -> None:
    ran: list[str] = []
    app = shop(identity=BY_SESSION, routes=routes("/who"))
    note: Callable[[Any], None] = lambda _: ran.append("request")  # noqa: E731
    app.teardown_request(note)
    app.teardown_appcontext(lambda _: ran.append("app"))

    app.test_client().get("/who")

    assert ran == ["request", "app"]


def test_without_flask_it_says_what_to_install() -> None:
    program = "import sys; sys.modules['flask'] = None; import moe_middleware.flask"

    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )

    assert "ImportError: moe_middleware.flask needs Flask: pip install" in ran.stderr
