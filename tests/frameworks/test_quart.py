"""The Quart door: its session says who it is, and its templates have the tag."""

from __future__ import annotations

from typing import Any

import pytest
from quart import Quart, g, render_template_string, request, session
from quart.sessions import SecureCookieSession, SessionInterface, SessionMixin

from moe_middleware import DuplicateMiddlewareError, Visit, current_experiences
from moe_middleware.personalizer.open_runtimes import runtime_for
from moe_middleware.quart import MoEngage
from moe_middleware.sandbox import Sandbox

from ..sites import PAGE, settings
from . import test_flask
from .asgi_apps import KEY, title


def shop(**sections: Any) -> Quart:
    app = Quart("shop")
    app.secret_key = "a secret"
    config = settings(
        identity={"customer_id": {"session": "customer.id"}},
        events={"outbox": "memory:", "relay": "off"},
        **sections,
    )
    app.config["MOE"] = config

    @app.get("/")
    async def home() -> str:
        return await render_template_string(PAGE)

    @app.post("/login/<who>")
    async def login(who: str) -> str:
        session["customer"] = {"id": who}
        return str(await request.get_data(as_text=True))

    @app.post("/logout")
    async def logout() -> str:
        session.clear()
        return "bye"

    MoEngage(app, config)
    return app


async def test_the_session_says_who_it_is(sandbox: Sandbox) -> None:
    app = shop()
    alice, bob = app.test_client(), app.test_client()
    await alice.post("/login/alice")
    await bob.post("/login/bob")

    pages = [await (await one.get("/")).get_data(as_text=True) for one in (alice, bob)]

    assert pages[0] != pages[1]
    assert "Welcome" not in "".join(pages)
    outbox = runtime_for(app.config["MOE"]).outbox
    assert (await outbox.count()).waiting == 2


async def test_the_session_stays_the_apps_own(sandbox: Sandbox) -> None:
    client = shop().test_client()
    login = await client.post("/login/alice", data=b"the body")
    page = await client.get("/")

    assert await login.get_data() == b"the body"
    assert "session=" in login.headers["set-cookie"]
    assert "session=" not in page.headers.get("set-cookie", "")


async def test_a_function_of_the_settings_reads_the_session_as_a_mapping(
    sandbox: Sandbox,
) -> None:
    app = Quart("shop")
    app.secret_key = "a secret"
    call = f"{test_flask.__name__}:{test_flask.keys_of_session.__name__}"

    @app.get("/")
    async def who() -> str:
        session["customer"] = "alice"
        return str(current_experiences().identity.customer_id)

    MoEngage(app, settings(identity={"customer_id": {"call": call}}))
    client = app.test_client()
    await client.get("/")

    text = await (await client.get("/")).get_data(as_text=True)
    assert text == "1 customer"


async def test_a_consent_in_the_session_is_enough(sandbox: Sandbox) -> None:
    app = Quart("shop")
    app.secret_key = "a secret"

    @app.get("/")
    async def home() -> str:
        return title()

    @app.post("/agree")
    async def agree() -> str:
        session["consent"] = "yes"
        return "thanks"

    by_session = {"given_by": {"session": "consent"}}
    by_cookie = {"customer_id": {"cookie": "customer_id"}}
    MoEngage(app, settings(identity=by_cookie, consent=by_session))
    client = app.test_client()
    client.set_cookie("localhost", "customer_id", "alice")

    before = await (await client.get("/")).get_data(as_text=True)
    await client.post("/agree")
    after = await (await client.get("/")).get_data(as_text=True)

    assert before == "nobody"
    assert after != "nobody"


@pytest.mark.parametrize("leaving", ["/logout", "/login/bob"])
async def test_who_leaves_is_forgotten(sandbox: Sandbox, leaving: str) -> None:
    client = shop().test_client()
    await client.post("/login/alice")
    for _ in range(2):
        await client.get("/")
    fetched = sandbox.calls["fetch"]

    await client.post(leaving)
    await client.post("/login/alice")
    await client.get("/")

    assert (fetched, sandbox.calls["fetch"]) == (1, 2)


async def test_no_source_no_look_at_the_session(sandbox: Sandbox) -> None:
    app = Quart("shop")

    @app.get("/")
    async def home() -> str:
        return title()

    interface = Broken()
    app.session_interface = interface  # type: ignore[assignment]
    MoEngage(app, settings(identity={"customer_id": {"cookie": "customer_id"}}))

    headers = {"cookie": "customer_id=alice"}
    assert (await app.test_client().get("/", headers=headers)).status_code == 200
    assert interface.opened == 1


class Broken(SessionInterface):
    """Opens no session where the request's path is one of ours."""

    def __init__(self) -> None:
        self.opened = 0

    async def open_session(self, app: Any, request: Any) -> SessionMixin | None:
        self.opened += 1
        if request.path.startswith("/_moe/"):
            raise ConnectionError("customer alice's session is out of reach")
        return None


async def test_a_session_out_of_reach_breaks_no_click_link(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    app = shop(secret_key="of-this-test-and-of-no-other-one")
    app.add_url_rule("/link", "link", link)
    client = app.test_client()
    await client.post("/login/alice")
    href = await (await client.get("/link")).get_data(as_text=True)
    app.session_interface = Broken()  # type: ignore[assignment]

    followed = await client.get(href)

    assert (followed.status_code, followed.headers["location"]) == (302, "/shop")
    assert "session_failed error=ConnectionError" in caplog.text
    assert "alice" not in caplog.text


async def link() -> str:
    return (await current_experiences().fetch(KEY)).click_url("/shop")


class Kept(SessionInterface):
    """A session in a store that counts how often it is asked."""

    def __init__(self, **kept: Any) -> None:
        self.kept = kept
        self.opened = 0

    async def open_session(self, app: Any, request: Any) -> SessionMixin:
        self.opened += 1
        return SecureCookieSession(self.kept)

    async def save_session(self, *_: Any) -> None: ...


async def test_a_session_is_opened_once_and_teardown_runs_once(
    sandbox: Sandbox,
) -> None:
    app = shop()
    kept = Kept(customer={"id": "alice"})
    app.session_interface = kept  # type: ignore[assignment]
    ran = []

    @app.before_request
    async def begin() -> None:
        g.begun = True

    @app.teardown_request
    async def end(_: Any) -> None:
        ran.append(g.begun)

    @app.teardown_appcontext
    async def end_app(_: Any) -> None:
        ran.append("app")

    page = await app.test_client().get("/")

    assert "Welcome" not in await page.get_data(as_text=True)
    assert kept.opened == 1
    assert ran == [True, "app"]


async def test_a_session_that_is_read_leaves_vary_to_the_app(sandbox: Sandbox) -> None:
    app = shop()

    @app.get("/plain")
    async def plain() -> str:
        return "plain"

    client = app.test_client()
    await client.post("/login/alice")

    assert "vary" not in (await client.get("/plain")).headers


async def test_a_before_request_function_waits_for_its_experiences(
    sandbox: Sandbox,
) -> None:
    app = shop()
    seen: list[Any] = []

    @app.before_request
    async def early() -> None:
        seen.append(current_experiences()[KEY].reason)
        seen.append((await current_experiences().ready())[KEY].source)

    client = app.test_client()
    await client.post("/login/alice")
    seen.clear()
    await client.get("/")

    assert seen == ["not_ready", "api"]
    assert sandbox.calls["fetch"] == 1


async def test_a_request_that_ends_before_its_handler_costs_no_fetch(
    sandbox: Sandbox,
) -> None:
    app = shop()
    app.before_request(lambda: ("not today", 503))

    assert (await app.test_client().get("/")).status_code == 503
    assert sandbox.calls["fetch"] == 0


def customer_of_request(_: Visit) -> str | None:
    return request.headers.get("x-customer")


async def test_a_function_of_the_settings_finds_the_request(sandbox: Sandbox) -> None:
    app = Quart("shop")

    @app.get("/")
    async def home() -> str:
        return str(current_experiences().identity.customer_id)

    call = {"call": f"{__name__}:customer_of_request"}
    MoEngage(app, settings(identity={"customer_id": call}))

    page = await app.test_client().get("/", headers={"x-customer": "alice"})

    assert await page.get_data(as_text=True) == "alice"


async def test_the_templates_environment_is_made_by_the_app(sandbox: Sandbox) -> None:
    app = shop()
    app.jinja_options = {"block_start_string": "<%", "block_end_string": "%>"}
    tag = PAGE.replace("{%", "<%").replace("%}", "%>")

    @app.get("/own")
    async def own() -> str:
        return await render_template_string(tag)

    assert "jinja_env" not in vars(app)
    client = app.test_client()
    assert "<h1>" in await (await client.get("/own")).get_data(as_text=True)


async def test_a_factory_and_a_second_time(sandbox: Sandbox) -> None:
    app = Quart("shop")
    engage = MoEngage(config=settings())
    engage.init_app(app)

    @app.get("/")
    async def home() -> str:
        return str(request.scope["state"]["experiences"][KEY].get("Title"))

    headers = {"cookie": "customer_id=alice"}
    page = await app.test_client().get("/", headers=headers)

    assert await page.get_data(as_text=True) != "None"
    with pytest.raises(DuplicateMiddlewareError, match="'shop' before"):
        engage.init_app(app)
