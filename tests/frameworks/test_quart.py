"""The Quart door: its session says who it is, and its templates have the tag."""

from __future__ import annotations

from typing import Any

import pytest
from quart import Quart, render_template_string, request, session
from quart.sessions import SessionInterface, SessionMixin

from moe_middleware import DuplicateMiddlewareError
from moe_middleware.quart import MoEngage
from moe_middleware.runtime import runtime_for
from moe_middleware.sandbox import Sandbox

from ..sites import PAGE, settings
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
    """Opens no session; the first try of each request is its own."""

    def __init__(self) -> None:
        self.opened = 0

    async def open_session(self, app: Any, request: Any) -> SessionMixin | None:
        self.opened += 1
        if self.opened % 2 and app.config.get("MOE"):
            raise ConnectionError("customer alice's session is out of reach")
        return None


async def test_a_session_out_of_reach_breaks_no_page(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    app = shop()
    app.session_interface = Broken()  # type: ignore[assignment]

    page = await app.test_client().get("/")

    assert page.status_code == 200
    assert "session_failed error=ConnectionError" in caplog.text
    assert "alice" not in caplog.text


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
