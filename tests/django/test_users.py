"""Who a Django visitor is: users, sessions, signing in and out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import alogin, alogout, get_user_model, login, logout
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.contrib.sessions.backends.base import SessionBase
from django.db import connection
from django.http import HttpResponse
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext

from moe_middleware import Visit
from moe_middleware.concurrency.background_loop import background
from moe_middleware.django import MoEngageMiddleware
from moe_middleware.sandbox import Sandbox

from ..redis_servers import redis_server
from .project import MIDDLEWARE
from .sites import Site, source
from .urls import KEY, page

MakeSite = Callable[..., Site]
Get = Callable[..., Any]


def mail_of(visit: Visit) -> str | None:
    """Stand for an app's own function of the visit, which may ask the database."""
    return getattr(visit.user, "email", None)


async def slow_mail_of(visit: Visit) -> str | None:
    """The same as an async function, which asks the database in Django's thread."""
    await asyncio.sleep(0)
    return await sync_to_async(mail_of)(visit)


def session_keys(visit: Visit) -> str | None:
    """Stand for an app's function that reads a session as any mapping."""
    session = visit.session
    return None if session is None else f"{len(session)}:{min(session)}"


def identity_of(request: Any) -> Any:
    request.experiences[KEY]
    return HttpResponse(repr(request.experiences.identity))


def customers(shop: Site) -> list[str]:
    return [event.customer_id for event in shop.events]


def test_the_signed_in_user_is_the_customer(site: MakeSite, get: Get) -> None:
    shop = site()
    # MoEngage takes its id for a placeholder elsewhere.
    assert shop.sign_in("root").pk == 1

    answered = get(shop)

    assert customers(shop) == ["1"]
    assert not answered.cookies
    assert "Cookie" in answered["Vary"]


def called(name: str) -> dict[str, str]:
    return {"call": f"{__name__}:{name}"}


SOURCES = {
    "user": ({"user": "email"}, "alice@shop.example"),
    "session": ({"session": "customer"}, "from-session"),
    "dots": ({"session": "shop.id"}, "inner"),
    "call": (called("mail_of"), "alice@shop.example"),
    "async call": (called("slow_mail_of"), "alice@shop.example"),
    "keys": (called("session_keys"), "5:_auth_user_backend"),
}
IDENTITIES = {
    **{
        name: ({"customer_id": source}, f"customer_id='{value}'")
        for name, (source, value) in SOURCES.items()
    },
    "cookie": ({"customer_id": {"cookie": "customer_id"}}, "customer_id=None"),
    "identifiers": (
        {
            "customer_id": called("slow_mail_of"),
            "user_identifiers": {"u_em": {"user": "email"}},
        },
        "'u_em': 'alice@shop.example'",
    ),
}


@pytest.mark.parametrize(("identity", "expected"), IDENTITIES.values(), ids=IDENTITIES)
@pytest.mark.parametrize("mapped", [True, False], ids=["prefetch", "fetch"])
def test_every_source_reads_from_the_database(
    site: MakeSite, get: Get, mapped: bool, identity: Any, expected: str
) -> None:
    def sync_view(request: Any) -> Any:
        request.experiences.fetch_sync(KEY)
        return identity_of(request)

    async def async_view(request: Any) -> Any:
        await request.experiences.fetch(KEY)
        return identity_of(request)

    routes = [{"path": "/{all:path}", "experiences": [KEY]}] if mapped else []
    shop = site(sync_view, urls={"async": async_view}, identity=identity, routes=routes)
    shop.sign_in("alice")
    for client in (shop.client, shop.async_client):
        session = client.session
        session["customer"] = "from-session"
        session["shop"] = {"id": "inner"}
        session.save()

    for path in ("/", "/async"):
        assert expected in get(shop, path).content.decode()


def test_somebody_else_in_request_user_wins(site: MakeSite, get: Get) -> None:
    shop = site(
        middleware=[*MIDDLEWARE[:-1], f"{__name__}.Impersonation", MIDDLEWARE[-1]]
    )
    shop.sign_in("alice")

    get(shop)

    bob = get_user_model().objects.get(username="bob")
    assert customers(shop) == [str(bob.pk)]


class Impersonation:
    """A middleware that replaces the user, as apps for support staff have them."""

    sync_capable, async_capable = True, False

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        request.user = get_user_model().objects.get(username="bob")
        return self.get_response(request)


def test_a_project_without_users_has_anonymous_visitors(
    site: MakeSite, get: Get
) -> None:
    shop = site(source, middleware=MIDDLEWARE[-1:])

    assert get(shop).content == b"api"


def test_a_session_that_is_a_plain_mapping_is_read_too(site: MakeSite) -> None:
    site(identity={"customer_id": {"session": "customer"}})
    request: Any = RequestFactory().get("/")
    request.session = {"customer": "plain"}

    response: Any = MoEngageMiddleware(identity_of)(request)

    assert b"customer_id='plain'" in response.content


# --- queries -----------------------------------------------------------------


def queries(shop: Site, path: str = "/") -> int:
    with CaptureQueriesContext(connection) as captured:
        shop.get(path)
    return len(captured)


def plain(_: Any) -> Any:
    return HttpResponse("plain")


def test_a_page_of_ours_asks_the_database_no_more_than_a_view_that_wants_the_user(
    site: MakeSite,
) -> None:
    def view(request: Any) -> Any:
        return HttpResponse(request.user.username)

    bare = site(view, middleware=MIDDLEWARE[:-1])
    bare.sign_in("alice")
    without = queries(bare)
    shop = site(view)
    shop.sign_in("alice")

    assert queries(shop) == without == 2


def test_a_fetch_in_a_view_asks_the_database_on_the_views_own_connection(
    site: MakeSite,
) -> None:
    def view(request: Any) -> Any:
        return HttpResponse(request.experiences.fetch_sync(KEY).source)

    shop = site(view, routes=[])
    shop.sign_in("alice")

    assert queries(shop) == 2


def test_unmapped_and_anonymous_pages_ask_the_database_nothing(
    site: MakeSite,
) -> None:
    shop = site(plain)
    anonymous = queries(shop)
    shop.sign_in("alice")

    assert (anonymous, queries(shop, "/unmapped")) == (0, 0)


def test_a_session_as_source_leaves_vary_to_the_app(site: MakeSite, get: Get) -> None:
    shop = site(plain, identity={"customer_id": {"session": "customer"}}, routes=[])
    shop.sign_in("alice")

    assert "Vary" not in get(shop)


@pytest.mark.parametrize(
    "identity", [{}, {"customer_id": {"session": "customer"}}], ids=["user", "session"]
)
def test_a_database_that_is_away_costs_the_page_its_customer_alone(
    site: MakeSite, get: Get, identity: Any, caplog: pytest.LogCaptureFixture
) -> None:
    shop = site(page, identity=identity, project={"SESSION_ENGINE": __name__})
    shop.have_session()

    answered = get(shop)

    assert answered.status_code == 200
    assert b"Welcome" not in answered.content
    assert "error=ConnectionError" in caplog.text


class SessionStore(SessionBase):
    """A session backend whose store cannot be reached."""

    def load(self) -> Any:
        raise ConnectionError("no sessions today")

    aload = load


# --- signing in and out ------------------------------------------------------


def do_login(request: Any) -> Any:
    login(request, get_user_model().objects.get(username="alice"))
    return HttpResponse("in")


def do_logout(request: Any) -> Any:
    logout(request)
    return HttpResponse("out")


async def do_alogin(request: Any) -> Any:
    await alogin(request, await get_user_model().objects.aget(username="alice"))
    return HttpResponse("in")


async def do_alogout(request: Any) -> Any:
    await alogout(request)
    return HttpResponse("out")


@pytest.mark.parametrize(
    "account",
    [{"in": do_login, "out": do_logout}, {"in": do_alogin, "out": do_alogout}],
    ids=["sync views", "async views"],
)
@pytest.mark.parametrize(
    ("routes", "key"),
    [(["/"], "pk"), (["/", "/in", "/out"], "email")],
    ids=["unmapped", "mapped"],
)
def test_who_signs_in_or_out_is_asked_for_anew(
    site: MakeSite, get: Get, account: Any, routes: list[str], key: str
) -> None:
    named = [{"path": path, "experiences": [KEY]} for path in routes]
    shop = site(
        source, urls=account, routes=named, identity={"customer_id": {"user": key}}
    )

    get(shop, "/in")
    seen = [get(shop).content for _ in range(2)]
    get(shop, "/out")
    get(shop, "/in")
    seen += [get(shop).content for _ in range(2)]

    assert seen == [b"api", b"cache", b"api", b"cache"]


def test_signing_in_alone_is_enough(site: MakeSite, get: Get) -> None:
    shop = site(source, urls={"in": do_login})

    get(shop, "/in")
    seen = [get(shop).content for _ in range(2)]
    get(shop, "/in")

    assert [*seen, get(shop).content] == [b"api", b"cache", b"api"]


def test_who_signs_in_as_somebody_else_leaves_as_well(site: MakeSite, get: Get) -> None:
    routes = [{"path": path, "experiences": [KEY]} for path in ("/", "/in")]
    shop = site(source, urls={"in": do_login}, routes=routes)

    shop.sign_in("bob")
    seen = [get(shop).content for _ in range(2)]
    get(shop, "/in")
    shop.sign_in("bob")

    assert [*seen, get(shop).content] == [b"api", b"cache", b"api"]


def telling(pages: list[Any]) -> Callable[[Any], Any]:
    """Return a sign-in that tells which page of ours it belongs to."""

    def view(request: Any) -> Any:
        pages.append(getattr(request, "scope", request.META)["moe_middleware.page"])
        return do_login(request)

    return view


def test_a_response_waits_until_other_processes_forget_too(
    site: MakeSite, get: Get, tmp_path: Path
) -> None:
    pages: list[Any] = []
    with redis_server(tmp_path) as redis:
        cache = {"redis": redis.url, "redis_timeout": 0.2}
        shop = site(source, urls={"in": telling(pages)}, cache=cache)
        get(shop)
        redis.hang()
        answered = get(shop, "/in")
        waited = pages[0].forgetting.done()
        redis.resume()
        background.run(shop.runtime.stop())

    assert answered.content == b"in"
    assert waited


def test_after_signing_in_the_view_sees_the_new_user(site: MakeSite, get: Get) -> None:
    async def view(request: Any) -> Any:
        await do_alogin(request)
        return HttpResponse((await request.auser()).username)

    shop = site(view)

    assert get(shop).content == b"alice"


def test_signing_in_forgets_no_answers_where_users_are_no_customers(
    site: MakeSite, get: Get
) -> None:
    shop = site(
        source, urls={"in": do_login}, identity={"customer_id": {"header": "x-id"}}
    )

    seen = [
        get(shop, path, headers={"x-id": "alice"}).content for path in ("/", "/in", "/")
    ]

    assert seen == [b"api", b"in", b"cache"]


def test_a_user_that_cannot_be_read_breaks_no_signing_out(
    site: MakeSite, get: Get, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        @property
        def is_authenticated(self) -> bool:
            raise ConnectionError("no users today")

    def view(request: Any) -> Any:
        user_logged_out.send(sender=Broken, request=request, user=Broken())
        return HttpResponse("out")

    assert get(site(view, routes=[])).content == b"out"
    assert "forget_failed error=ConnectionError" in caplog.text


@pytest.mark.parametrize("mapped", [True, False], ids=["mapped", "unmapped"])
def test_who_changes_by_session_is_asked_for_anew(
    site: MakeSite, get: Get, mapped: bool
) -> None:
    def enter(request: Any) -> Any:
        request.session["customer"] = "alice"
        return HttpResponse()

    def leave(request: Any) -> Any:
        request.session.flush()
        return HttpResponse()

    paths = "/{all:path}" if mapped else "/"
    shop = site(
        source,
        urls={"in": enter, "out": leave},
        identity={"customer_id": {"session": "customer"}},
        routes=[{"path": paths, "experiences": [KEY]}],
    )

    get(shop, "/in")
    seen = [get(shop).content for _ in range(2)]
    get(shop, "/out")
    get(shop, "/in")
    seen += [get(shop).content for _ in range(2)]

    assert seen == [b"api", b"cache", b"api", b"cache"]


def test_signals_without_a_request_of_ours_are_nothing_to_us(
    site: MakeSite, sandbox: Sandbox
) -> None:
    user = site().sign_in("alice")
    for request in (None, RequestFactory().get("/")):
        user_logged_in.send(sender=type(user), request=request, user=user)

    assert sandbox.calls["fetch"] == 0
