"""The Flask door: its session and its user, read and never written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import flask
import pytest
from flask import Flask
from flask.testing import FlaskClient

from moe_middleware import (
    DuplicateMiddlewareError,
    MoEngageWSGIMiddleware,
    Visit,
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


def test_without_a_secret_key_no_user_is_signed_in(sandbox: Sandbox) -> None:
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
        customer = current_experiences().identity.customer_id
        return f"{customer} orders {flask.request.form['what']}"

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

    text = browser.post("/order", data={"what": "tea"}).text

    assert text == "alice orders tea"


def test_without_flask_login_there_is_no_user(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    app = shop(identity={"customer_id": {"user": "name"}}, routes=routes("/who"))

    assert app.test_client().get("/who").text == "None"
    assert "flask_login is not in use" in caplog.text


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


def test_the_templates_environment_is_made_by_the_app(sandbox: Sandbox) -> None:
    app = shop(routes=routes("/own"))
    made_early = "jinja_env" in vars(app)
    app.config["TEMPLATES_AUTO_RELOAD"] = True
    # Later changes of the app are not lost, and neither is the tag.
    app.jinja_options = {"block_start_string": "<%", "block_end_string": "%>"}
    tag = PAGE.replace("{%", "<%").replace("%}", "%>")
    app.add_url_rule("/own", "own", lambda: flask.render_template_string(tag))

    assert not made_early
    assert "<h1>" in app.test_client().get("/own").text
    assert app.jinja_env.auto_reload


def test_an_environment_that_is_there_gets_the_tag_too(sandbox: Sandbox) -> None:
    app = bare_shop()
    app.add_template_global(lambda: "there", "made_early")
    app.jinja_env.filters["own"] = str.upper
    MoEngage(app, settings())

    assert "<h1>" in app.test_client().get("/").text


# --- the app's own request --------------------------------------------------


def signed_in(
    *,
    before: Callable[[], Any] | None = None,
    teardown: Callable[[Any], Any] | None = None,
    **sections: Any,
) -> tuple[Flask, FlaskClient, list[str]]:
    """Return a shop that counts how often its users are loaded, and alice's browser."""
    flask_login = pytest.importorskip("flask_login")
    app = bare_shop()
    loaded: list[str] = []
    if before is not None:
        app.before_request(before)
    if teardown is not None:
        app.teardown_request(teardown)

    def load(name: str) -> User:
        loaded.append(name)
        return User(name)

    flask_login.LoginManager(app).user_loader(load)

    @app.get("/enter/<name>")
    def enter(name: str) -> str:
        flask_login.login_user(User(name))
        return name

    @app.get("/link")
    def link() -> str:
        return current_experiences().fetch_sync(KEY).click_url("/shop", "Shop")

    @app.get("/me")
    def me() -> str:
        return f"{flask_login.current_user.name} {who()}"

    given = {
        "identity": {"customer_id": {"user": "name"}},
        "routes": routes("/", "/me", "/who"),
        "events": {"outbox": "memory:", "relay": "off"},
        **sections,
    }
    MoEngage(app, settings(**given))
    browser = app.test_client()
    browser.get("/enter/alice")
    loaded.clear()
    return app, browser, loaded


def who() -> str:
    return str(current_experiences().identity.customer_id)


def test_a_teardown_that_relies_on_its_beginning_keeps_the_customer(
    sandbox: Sandbox,
) -> None:
    def begin() -> None:
        flask.g.started = 1

    ended: list[int] = []
    _, browser, _ = signed_in(
        before=begin, teardown=lambda _: ended.append(flask.g.started)
    )
    ended.clear()

    assert browser.get("/who").text == "alice"
    assert ended == [1]


def test_the_user_is_loaded_once_and_reported_once(sandbox: Sandbox) -> None:
    flask_login = pytest.importorskip("flask_login")
    app, browser, loaded = signed_in()
    names: list[str] = []
    name = "remember_token"
    with app.test_request_context():
        browser.set_cookie(name, flask_login.utils.encode_cookie("alice"))
    with browser.session_transaction() as session:
        session.clear()

    def note(_: Any, user: User, **__: Any) -> None:
        names.append(user.name)

    flask_login.signals.user_loaded_from_cookie.connect(note, app)
    text = browser.get("/me").text

    assert text == "alice alice"
    assert (loaded, names) == (["alice"], ["alice"])


def test_a_loader_finds_what_the_apps_own_functions_have_opened(
    sandbox: Sandbox,
) -> None:
    def open_database() -> None:
        flask.g.users = {"alice": User("alice")}

    app, browser, _ = signed_in(before=open_database)
    app.login_manager.user_loader(lambda name: flask.g.users[name])  # type: ignore[attr-defined]

    assert browser.get("/me").text == "alice alice"


def test_an_attribute_error_of_a_loader_is_not_a_missing_attribute(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    app, browser, _ = signed_in()
    app.login_manager.user_loader(lambda _: flask.g.no_such_database)  # type: ignore[attr-defined]

    page = browser.get("/who")

    assert page.status_code == 200
    assert page.text != "alice"
    assert "failed" in caplog.text
    assert "alice" not in caplog.text


def test_a_function_before_the_handler_may_look_at_experiences(
    sandbox: Sandbox,
) -> None:
    seen: list[Any] = []

    def early() -> None:
        seen.append((current_experiences()[KEY].source, who()))

    _, browser, loaded = signed_in(before=early)
    seen.clear()

    assert browser.get("/who").text == "alice"
    assert seen == [("api", "alice")]
    assert (loaded, sandbox.calls["fetch"]) == (["alice"], 1)


def test_a_request_that_ends_before_its_handler_costs_no_fetch(
    sandbox: Sandbox,
) -> None:
    def close() -> Any:
        return None if flask.request.path == "/enter/alice" else ("not today", 503)

    _, browser, loaded = signed_in(before=close)

    answered = browser.get("/")

    assert (answered.status_code, loaded, sandbox.calls["fetch"]) == (503, [], 0)
    assert "private" not in answered.headers.get("Cache-Control", "")


class Kept(flask.sessions.SessionInterface):
    """Sessions in a database that is away while a link is followed."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.is_away = False

    def open_session(self, app: Any, request: Any) -> Any:
        assert flask.current_app.name == app.name
        self.opened.append(request.path)
        if self.is_away:
            raise ConnectionError("no sessions today")
        return flask.sessions.SecureCookieSession({"customer": "alice"})

    def save_session(self, *_: Any) -> None: ...


def test_a_session_in_a_database_is_opened_once_within_the_app(
    sandbox: Sandbox,
) -> None:
    ended: list[bool] = []
    app, kept = bare_shop(), Kept()
    app.session_interface = kept
    app.teardown_appcontext(lambda _: ended.append(True))
    MoEngage(app, settings(identity=BY_SESSION, routes=routes("/who")))

    assert app.test_client().get("/who").text == "alice"
    assert (kept.opened, ended) == (["/who"], [True])


@pytest.mark.parametrize("sessions", ["in a cookie", "in a database", "away"])
def test_a_click_link_knows_the_customer_of_the_session(
    sandbox: Sandbox, sessions: str
) -> None:
    app, kept = bare_shop(), Kept()
    if sessions != "in a cookie":
        app.session_interface = kept
    app.add_url_rule(
        "/link",
        view_func=lambda: current_experiences()[KEY].click_url("/shop", "Shop"),
    )
    events = {"outbox": "memory:", "relay": "off"}
    secret = "of-this-test-and-of-no-other-one"
    named = {"identity": BY_SESSION, "routes": routes("/link"), "secret_key": secret}
    MoEngage(app, settings(events=events, **named))
    browser = app.test_client()
    browser.get("/login/alice")

    link = browser.get("/link").text
    kept.is_away = sessions == "away"
    followed = browser.get(link)

    assert followed.location == "/shop"
    outbox = door(app).runtime.outbox
    clicks = [one.customer_id for one in outbox.events]  # type: ignore[attr-defined]
    assert clicks == (["alice"] if sessions != "away" else [])


def keys_of_session(visit: Visit) -> str:
    """Stand for an app's function that reads a session as any mapping."""
    assert visit.session is not None
    return f"{len(visit.session)} {min(visit.session)}"


def test_a_function_of_the_settings_reads_the_session_as_a_mapping(
    sandbox: Sandbox,
) -> None:
    identity = {"customer_id": {"call": f"{__name__}:keys_of_session"}}
    browser = shop(identity=identity, routes=routes("/who")).test_client()
    browser.get("/login/alice")

    assert browser.get("/who").text == "1 customer"


def customer_of_request(_: Visit) -> str | None:
    return f"{flask.g.customer}{flask.request.args['more']}"


def test_a_function_of_the_settings_finds_the_request(sandbox: Sandbox) -> None:
    app = bare_shop()

    @app.before_request
    def begin() -> None:
        flask.g.customer = "ali"

    call = {"call": f"{__name__}:customer_of_request"}
    MoEngage(app, settings(identity={"customer_id": call}, routes=routes("/who")))

    assert app.test_client().get("/who?more=ce").text == "alice"


def test_a_click_link_knows_the_customer_whatever_a_teardown_does(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    def begin() -> None:
        flask.g.started = 1

    app, browser, _ = signed_in(
        before=begin,
        teardown=lambda _: flask.g.started,
        secret_key="of-this-test-and-of-no-other-one",
    )

    followed = browser.get(browser.get("/link").text)
    browser.get("/who")

    assert followed.location == "/shop"
    assert "teardown_failed error=AttributeError" in caplog.text
    outbox = door(app).runtime.outbox
    assert [one.customer_id for one in outbox.events] == ["alice"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("step", ["login", "logout"])
def test_a_login_ahead_of_the_handler_forgets_too(sandbox: Sandbox, step: str) -> None:
    def by_token() -> None:
        if flask.request.args.get("token"):
            flask.session["customer"] = "alice"
        if flask.request.args.get("leave"):
            flask.session.clear()

    app = bare_shop()
    app.before_request(by_token)
    MoEngage(app, settings(identity=BY_SESSION, routes=routes("/who")))
    browser = app.test_client()
    browser.get("/login/alice")
    browser.get("/who")
    browser.get("/who")
    fetched = sandbox.calls["fetch"]

    browser.get("/who?leave=1")
    browser.get("/who?token=1")

    # Once for an unknown visitor, once for alice anew.
    assert (fetched, sandbox.calls["fetch"]) == (1, 3)


def test_an_app_mounted_within_has_its_experiences(sandbox: Sandbox) -> None:
    from werkzeug.middleware.dispatcher import DispatcherMiddleware

    app = bare_shop()
    inner = Flask("inner")
    inner.add_url_rule("/", "title", lambda: current_experiences()[KEY].Title)
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/in": inner})  # type: ignore[method-assign]
    everyone = {"customer_id": {"call": f"{__name__}:alice"}}
    MoEngage(app, settings(identity=everyone, routes=routes("/in/")))

    assert app.test_client().get("/in/").text


def alice(_: Visit) -> str:
    return "alice"


@pytest.mark.parametrize(
    ("outside", "trusted", "lines"),
    [(True, [], 0), (False, [], 1), (False, ["127.0.0.0/8"], 0)],
    ids=["outside", "inside", "inside, but trusted here"],
)
def test_where_proxy_fix_stands(
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
    outside: bool,
    trusted: list[str],
    lines: int,
) -> None:
    from werkzeug.middleware.proxy_fix import ProxyFix

    app = bare_shop()
    moengage = MoEngage(config=settings(trusted_proxies=trusted))
    if outside:
        moengage.init_app(app)
    app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
    if not outside:
        moengage.init_app(app)
    forwarded = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}

    answers = [app.test_client().get("/", headers=forwarded) for _ in range(2)]

    assert caplog.text.count("proxy_fix_inside") == lines
    secure = "Secure" in answers[0].headers["Set-Cookie"]
    assert secure == (lines == 0)
