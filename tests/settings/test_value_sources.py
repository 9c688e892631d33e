"""Sources of values at every door: what fails, what is an id, and what is missing."""

from __future__ import annotations

import asyncio
import enum
import uuid
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from quart import Quart
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send
from werkzeug.test import Client
from werkzeug.wrappers import Request as WerkzeugRequest
from werkzeug.wrappers import Response as WerkzeugResponse

from moe_middleware import (
    MoEngageMiddleware,
    MoEngageWSGIMiddleware,
    Settings,
    ValueSource,
    Visit,
    current_experiences,
)
from moe_middleware.quart import MoEngage as QuartMoEngage
from moe_middleware.sandbox import Sandbox

from ..sites import settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

SECRET = "alice's secret"


class Customer(SimpleUser):
    """A user of whom some things cannot be read."""

    @property
    def detached(self) -> str:
        raise RuntimeError(SECRET)

    @property
    def mistaken(self) -> str:
        return str(self.nowhere)  # type: ignore[attr-defined]

    @property
    def unwritable(self) -> object:
        class Unwritable:
            def __str__(self) -> str:
                raise LookupError(SECRET)

        return Unwritable()

    @property
    def rows(self) -> list[str]:
        return [SECRET]

    @property
    def half(self) -> str:
        return "\ud800"

    @property
    def profile(self) -> object:
        return object()


class SignedIn(AuthenticationBackend):
    async def authenticate(
        self, conn: HTTPConnection
    ) -> tuple[AuthCredentials, SimpleUser]:
        return AuthCredentials(), Customer("alice")


def fails(visit: Visit) -> str:
    raise ZeroDivisionError(SECRET)


async def fails_later(visit: Visit) -> str:
    await asyncio.sleep(0)
    raise ZeroDivisionError(SECRET)


async def waits(visit: Visit) -> str | None:
    await asyncio.sleep(0.001)
    return visit.cookie("who")


def reads(visit: Visit) -> str | None:
    return visit.cookie("who")


def changes(visit: Visit) -> str:
    visit.path_params["sku"] = "another"  # type: ignore[index]
    return "changed"


def call(function: Callable[..., object]) -> dict[str, str]:
    return {"call": f"{__name__}:{function.__name__}"}


async def who(request: Request) -> Response:
    experiences = request.state.experiences
    reason = experiences["homepage-banner"].reason
    return PlainTextResponse(f"{experiences.identity.customer_id} {reason}")


def signed_in_site(**sections: Any) -> TestClient:
    identity = {"customer_id": {"user": "display_name"}}
    ours = Middleware(
        MoEngageMiddleware, config=settings(**{"identity": identity, **sections})
    )
    backend = Middleware(AuthenticationMiddleware, backend=SignedIn())
    return TestClient(Starlette(routes=[Route("/", who)], middleware=[backend, ours]))


# --- what fails ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"user": "detached"}, "source=user:detached error=RuntimeError at=test_"),
        ({"user": "mistaken"}, "source=user:mistaken error=AttributeError"),
        ({"user": "unwritable"}, "source=user:unwritable error=LookupError"),
        ({"user": "rows"}, "source=user:rows given=list"),
        ({"user": "half"}, "source=user:half given=half-a-character"),
        ({"user": "profile"}, "source=user:profile given=object"),
        ({"user": "detached.deeper"}, "source=user:detached.deeper error=RuntimeE"),
        (call(fails), "fails error=ZeroDivisionError"),
        (call(fails_later), "fails_later error=ZeroDivisionError"),
        (call(changes), "changes error=TypeError"),
        ({"call": "tests:nothing"}, "'tests' has no attribute 'nothing'"),
        ({"call": "tests.nowhere:nothing"}, "there is no module 'tests.nowhere'"),
    ],
)
@pytest.mark.parametrize("place", ["attributes", "identifiers", "visitor"])
def test_a_source_that_fails_costs_its_own_value(
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
    source: dict[str, str],
    message: str,
    place: str,
) -> None:
    good = {"user": "display_name"}
    sections: dict[str, Any] = {"attributes": {"plan": {"value": "gold"}}}
    if place == "attributes":
        sections["attributes"]["lost"] = source
    elif place == "identifiers":
        sections["identity"] = {"customer_id": good, "user_identifiers": {"a": source}}
    else:
        sections["identity"] = {"customer_id": source, "visitor_id": good}

    page = signed_in_site(**sections).get("/")

    expected = "None None" if place == "visitor" else "alice None"
    assert page.text == expected
    lines = [line for line in caplog.messages if line.startswith("value_failed")]
    assert len(lines) == 1
    assert message in lines[0]
    assert SECRET not in caplog.text


class Broken(Mapping[str, Any]):
    """A session whose store is away."""

    def __getitem__(self, name: str) -> Any:
        raise ConnectionError(SECRET)

    def __iter__(self) -> Iterator[str]:
        raise ConnectionError(SECRET)

    def __len__(self) -> int:
        raise ConnectionError(SECRET)


def test_a_session_out_of_reach_costs_its_own_value(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    identity = {"customer_id": {"session": "id"}}
    inner = MoEngageMiddleware(
        Starlette(routes=[Route("/", who)]), config=settings(identity=identity)
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await inner({**scope, "session": Broken()}, receive, send)

    page = TestClient(app).get("/")

    assert page.text == "None None"
    assert "value_failed source=session:id error=ConnectionError" in caplog.text
    assert SECRET not in caplog.text


def test_an_attribute_that_is_not_there_is_no_failure(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    shop = signed_in_site(attributes={"plan": {"user": "no.such.thing"}})

    assert shop.get("/").text == "alice None"
    assert "value_failed" not in caplog.text


# --- what is an id --------------------------------------------------------------


class Plan(enum.Enum):
    GOLD = "gold"


class Text(str, enum.Enum):  # noqa: UP042 (as older code has it)
    ALICE = "alice"


UUID = uuid.UUID(int=7)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((1, "1"), (2, "2"), (0, "0"), ("guest", "guest"), ("alice", "alice")),
        *((" alice\n", "alice"), (b"alice", "alice"), ("müller".encode(), "müller")),
        *((b"m\xfcller", "müller"), (UUID, str(UUID)), (Decimal("7"), "7")),
        *((Plan.GOLD, "gold"), (Text.ALICE, "alice"), ("", None), (None, None)),
        *(
            (" ", None),
            (True, None),
            (False, None),
            (["alice"], None),
            ("\ud800", None),
        ),
        *(("x" * 257, None), ("a\nb", None), ({"id": 1}, None), ("Alice", "Alice")),
    ],
)
def test_an_id_of_the_apps_own_is_taken_as_it_is(
    sandbox: Sandbox, value: object, expected: str | None
) -> None:
    identity = {"customer_id": {"session": "id"}}
    inner = MoEngageMiddleware(
        Starlette(routes=[Route("/", who)]), config=settings(identity=identity)
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await inner({**scope, "session": {"id": value}}, receive, send)

    assert TestClient(app).get("/").text == f"{expected} None"


@pytest.mark.parametrize("word", ["1", "2", "0", "guest", "NULL", "undefined"])
@pytest.mark.parametrize("kind", ["cookie", "header", "query"])
def test_a_placeholder_that_anyone_may_send_is_ignored_with_one_line(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, kind: str, word: str
) -> None:
    app = Starlette(routes=[Route("/", who)])
    identity = {"customer_id": {kind: "uid"}}
    ours = MoEngageMiddleware(app, config=settings(identity=identity))
    sent: dict[str, dict[str, Any]] = {
        "cookie": {"headers": {"cookie": f"uid={word}"}},
        "header": {"headers": {"uid": word}},
        "query": {"params": {"uid": word}},
    }

    pages = [TestClient(ours).get("/", **sent[kind]).text for _ in range(3)]

    assert pages == ["None None"] * 3
    lines = [line for line in caplog.messages if line.startswith("id_ignored")]
    assert len(lines) == 1
    expected = f"source={kind}:uid reason=placeholder value={word.lower()}: "
    assert expected in lines[0]


def test_an_id_that_is_too_long_is_not_in_the_log(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    app = MoEngageMiddleware(Starlette(routes=[Route("/", who)]), config=settings())

    TestClient(app).get("/", headers={"cookie": f"customer_id={'alice' * 100}"})

    assert "id_ignored source=cookie:customer_id reason=too_long" in caplog.text
    assert "alicealice" not in caplog.text


def _wsgi_client(app: WSGIApplication, wanted: Settings) -> Client:
    return Client(MoEngageWSGIMiddleware(app, config=wanted), use_cookies=False)


def customer_of(environ: WSGIEnvironment, start_response: StartResponse) -> Any:
    found = current_experiences().identity.customer_id
    return WerkzeugResponse(str(found))(environ, start_response)


@pytest.mark.parametrize("kind", ["query", "path", "header"])
@pytest.mark.parametrize("door", ["asgi", "wsgi"])
async def test_bytes_that_are_no_utf8_stay_two_ids(
    sandbox: Sandbox, kind: str, door: str
) -> None:
    ids = [b"J\xfcrgen", b"J\xe9rgen", "Jürgen".encode() + b"\xfc"]
    wanted = settings(
        identity={"customer_id": {kind: "id"}},
        routes=[{"path": "/{id}", "experiences": ["homepage-banner"]}],
    )
    seen = set()
    for raw in ids:
        quoted = "".join(f"%{byte:02X}" for byte in raw)
        path = quoted if kind == "path" else "page"
        query = f"id={quoted}" if kind == "query" else ""
        headers = [(b"id", raw)] if kind == "header" else []
        if door == "asgi":
            seen.add(await _ask_asgi(wanted, path, query, headers))
        else:
            seen.add(_ask_wsgi(wanted, raw.decode("latin-1"), query, headers))

    assert len(seen) == 3
    assert not any("\ufffd" in one for one in seen)
    assert "None" not in seen


async def _ask_asgi(
    wanted: Settings, path: str, query: str, headers: list[tuple[bytes, bytes]]
) -> str:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        text = str(current_experiences().identity.customer_id)
        await PlainTextResponse(text)(scope, receive, send)

    transport = httpx.ASGITransport(MoEngageMiddleware(app, config=wanted))
    async with httpx.AsyncClient(transport=transport) as browser:
        page = await browser.get(f"http://shop/{path}?{query}", headers=headers)
    return page.text


def _ask_wsgi(
    wanted: Settings, path: str, query: str, headers: list[tuple[bytes, bytes]]
) -> str:
    environ = {
        f"HTTP_{name.decode().upper()}": text.decode("latin-1")
        for name, text in headers
    }
    environ |= {"PATH_INFO": f"/{path}", "QUERY_STRING": query}
    return _wsgi_client(customer_of, wanted).get("/", environ_overrides=environ).text


# --- sync or async, at every door -------------------------------------------------


@pytest.mark.parametrize("function", [reads, waits])
@pytest.mark.parametrize("door", ["wsgi", "asgi", "asgi-thread"])
@pytest.mark.parametrize("mapped", [True, False], ids=["mapped", "unmapped"])
def test_every_function_works_where_sync_code_forgets(
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
    function: Callable[..., Any],
    door: str,
    mapped: bool,
) -> None:
    forgetting = "/" if mapped else "/elsewhere"
    wanted = settings(identity={"customer_id": call(function)})

    def view(path: str, method: str) -> str:
        experiences = current_experiences()
        if method == "POST":
            experiences.forget()
        return str(experiences["homepage-banner"].source)

    client = _client_of(view, door, wanted)
    cookie = {"cookie": "who=alice"}
    client.get("/", headers=cookie)
    client.post(forgetting, headers=cookie)
    client.get("/", headers=cookie)

    assert sandbox.calls["fetch"] == 2
    assert "failed" not in caplog.text


def _client_of(view: Callable[[str, str], str], door: str, wanted: Settings) -> Any:
    if door == "wsgi":

        def wsgi(environ: WSGIEnvironment, start_response: StartResponse) -> Any:
            request = WerkzeugRequest(environ)
            text = view(request.path, request.method)
            return WerkzeugResponse(text)(environ, start_response)

        return _wsgi_client(wsgi, wanted)

    async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
        if door == "asgi":
            text = view(scope["path"], scope["method"])
        else:
            text = await run_in_threadpool(view, scope["path"], scope["method"])
        await PlainTextResponse(text)(scope, receive, send)

    return TestClient(MoEngageMiddleware(asgi, config=wanted))


# --- what stands in the wrong order -------------------------------------------------


def site(*middleware: Middleware) -> TestClient:
    return TestClient(Starlette(routes=[Route("/", who)], middleware=[*middleware]))


SESSION = Middleware(SessionMiddleware, secret_key="a secret")


def missing(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one for one in caplog.messages if one.startswith("middleware_missing")]


@pytest.mark.parametrize("order", ["inside", "nowhere"])
def test_a_session_that_is_not_outside_is_reported_once(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, order: str
) -> None:
    identity = {"customer_id": {"session": "id"}}
    ours = Middleware(MoEngageMiddleware, config=settings(identity=identity))
    browser = site(ours, SESSION) if order == "inside" else site(ours)

    for _ in range(3):
        browser.get("/")

    [line] = missing(caplog)
    assert "source=session:id" in line
    assert "add_middleware" in line
    assert "middleware=[...]" in line


def test_a_session_or_user_that_is_there_is_not_missed(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    identity = {"customer_id": {"session": "id"}}
    config = settings(identity=identity, attributes={"plan": {"user": "plan"}})
    inner = MoEngageMiddleware(Starlette(routes=[Route("/", who)]), config=config)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # An empty session, and no user: both middlewares are at work.
        await inner({**scope, "session": {}, "user": None}, receive, send)

    TestClient(app).get("/")
    TestClient(app).get("/elsewhere")

    assert missing(caplog) == []


def test_an_unmapped_page_misses_no_session(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    identity = {"customer_id": {"session": "id"}}
    ours = Middleware(MoEngageMiddleware, config=settings(identity=identity))

    site(ours).get("/static/app.css")

    assert missing(caplog) == []


@pytest.mark.parametrize("kind", ["session", "user"])
def test_the_wsgi_door_says_what_it_does_not_have(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    wanted = settings(identity={"customer_id": {kind: "id"}})
    client = _wsgi_client(customer_of, wanted)

    client.get("/")
    client.get("/")

    [line] = missing(caplog)
    assert f"source={kind}:id" in line
    assert "moe_middleware.flask" in line


def test_a_session_middleware_outside_of_the_wsgi_door_is_read(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = settings(identity={"customer_id": {"session": "id"}})
    client = _wsgi_client(customer_of, wanted)

    class Session:
        """As Beaker's: no Mapping, and with an id of its own."""

        id = "the session's own"

        def __getitem__(self, name: str) -> Any:
            return {"id": "alice"}[name]

    page = client.get("/", environ_overrides={"beaker.session": Session()})

    assert page.text == "alice"
    assert missing(caplog) == []


async def test_quart_has_no_user_and_says_so(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    app = Quart("shop")

    @app.get("/")
    async def home() -> str:
        return "home"

    QuartMoEngage(app, settings(identity={"customer_id": {"user": "id"}}))

    await app.test_client().get("/")
    await app.test_client().get("/")

    [line] = missing(caplog)
    assert "Quart" in line


def test_a_source_knows_itself() -> None:
    kinds = ("cookie", "header", "query", "path", "session", "user", "value")
    sources = [ValueSource.model_validate({kind: "a"}) for kind in kinds]
    sources.append(ValueSource(call="a:b"))

    lazy = [source.kind for source in sources if source.is_lazy]
    of_the_page = [source.kind for source in sources if source.is_of_the_page]
    by_anyone = [source.kind for source in sources if source.is_written_by_anyone]

    assert lazy == ["session", "user", "call"]
    assert of_the_page == ["query", "path", "value"]
    assert by_anyone == ["cookie", "header", "query"]
