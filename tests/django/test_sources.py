"""Functions and properties that ask the database, in Django's sync and async stacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.http import HttpResponse

from moe_middleware import Counters, Visit

from .sites import Site
from .urls import KEY

MakeSite = Callable[..., Site]
Get = Callable[..., Any]

OURS = "moe_middleware.django.MoEngageMiddleware"


def named(visit: Visit) -> str | None:
    """Ask the database for the customer whose name is in a cookie."""
    users = get_user_model().objects.filter(username=visit.cookie("who"))
    return users.values_list("email", flat=True).first()


async def named_later(visit: Visit) -> str | None:
    """The same by Django's async ORM."""
    users = get_user_model().objects.filter(username=visit.cookie("who"))
    return await users.values_list("email", flat=True).afirst()


def call(function: Callable[..., object]) -> dict[str, str]:
    return {"call": f"{__name__}:{function.__name__}"}


def customer_of(request: Any) -> Any:
    return HttpResponse(str(request.experiences.identity.customer_id))


async def customer_of_later(request: Any) -> Any:
    return customer_of(request)


def forget_in_a_view(request: Any) -> Any:
    if request.method == "POST":
        request.experiences.forget()
    return HttpResponse(str(request.experiences[KEY].source))


async def forget_in_an_async_view(request: Any) -> Any:
    return forget_in_a_view(request)


def fetch_in_a_view(request: Any) -> Any:
    found = request.experiences.fetch_sync(KEY)
    return HttpResponse(f"{found.source} {request.experiences.identity.customer_id}")


@pytest.mark.parametrize("view", [customer_of, customer_of_later])
@pytest.mark.parametrize("function", [named, named_later])
def test_a_function_may_ask_the_database(
    site: MakeSite,
    get: Get,
    view: Any,
    function: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shop = site(
        view,
        identity={"customer_id": call(function)},
        consent={"given_by": call(function), "values": ["alice@shop.example"]},
        attributes={"mail": call(function)},
    )
    shop.client.cookies["who"] = shop.async_client.cookies["who"] = "alice"

    assert get(shop).content == b"alice@shop.example"
    assert "failed" not in caplog.text


def test_the_projects_mapping_may_hold_functions(site: MakeSite, get: Get) -> None:
    shop = site(
        customer_of,
        project={
            "MOENGAGE": {
                "workspace": {"data_center": "sandbox"},
                "identity": {"customer_id": {"call": named}},
                "routes": [{"path": "/", "experiences": [KEY]}],
                "events": {"outbox": "memory:", "relay": "off"},
                "fetch": {"timeout": 5},
                "observer": Counters,
            }
        },
    )
    shop.client.cookies["who"] = shop.async_client.cookies["who"] = "alice"

    assert get(shop).content == b"alice@shop.example"


@pytest.mark.parametrize(
    ("view", "path"),
    [
        (forget_in_a_view, "/"),
        (forget_in_a_view, "/elsewhere"),
        (forget_in_an_async_view, "/"),
    ],
)
@pytest.mark.parametrize("function", [named, named_later])
def test_any_view_may_forget_whom_a_function_knows(
    site: MakeSite,
    get: Get,
    view: Any,
    function: Any,
    path: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shop = site(view, identity={"customer_id": call(function)})
    shop.client.cookies["who"] = shop.async_client.cookies["who"] = "alice"

    get(shop)
    get(shop, path, method="post")

    assert get(shop).content == b"api"
    assert "failed" not in caplog.text


@pytest.mark.parametrize("function", [named, named_later])
def test_a_sync_view_fetches_for_whom_a_function_knows(
    site: MakeSite, get: Get, function: Any, caplog: pytest.LogCaptureFixture
) -> None:
    shop = site(fetch_in_a_view, identity={"customer_id": call(function)}, routes=[])
    shop.client.cookies["who"] = shop.async_client.cookies["who"] = "alice"

    assert get(shop).content == b"api alice@shop.example"
    assert "failed" not in caplog.text


@pytest.mark.parametrize("function", [named, named_later])
def test_a_sync_view_waits_for_what_is_fetched_beside_it(
    site: MakeSite, get: Get, function: Any
) -> None:
    """The function needs Django's sync thread, in which the view is waiting."""

    def view(request: Any) -> Any:
        return HttpResponse(str(request.experiences.ready_sync()[KEY].source))

    fetch = {"prefetch": "concurrent", "timeout": 5}
    shop = site(view, identity={"customer_id": call(function)}, fetch=fetch)
    shop.client.cookies["who"] = shop.async_client.cookies["who"] = "alice"

    assert get(shop).content == b"api"


def test_a_property_that_asks_the_database_is_read(
    site: MakeSite, get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mail(user: Any) -> str:
        found: Any = get_user_model().objects.get(pk=user.pk)
        return str(found.email)

    monkeypatch.setattr(get_user_model(), "mail", property(mail), raising=False)
    shop = site(customer_of, identity={"customer_id": {"user": "mail"}})
    shop.sign_in("alice")

    assert get(shop).content == b"alice@shop.example"


def test_one_property_that_raises_costs_its_own_value(
    site: MakeSite,
    get: Get,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def plan(user: Any) -> str:
        raise AttributeError(f"no plan of {user.email}")

    monkeypatch.setattr(get_user_model(), "plan", property(plan), raising=False)
    attributes = {"plan": {"user": "plan"}, "mail": {"user": "email"}}
    shop = site(customer_of, attributes=attributes)
    alice = shop.sign_in("alice")

    assert get(shop).content == str(alice.pk).encode()
    assert "value_failed source=user:plan error=AttributeError" in caplog.text
    assert "alice" not in caplog.text


@pytest.mark.parametrize("kind", ["session", "user"])
def test_a_middleware_that_is_not_listed_is_missed_once(
    site: MakeSite, get: Get, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    identity = {"customer_id": {kind: "id"}}
    shop = site(customer_of, identity=identity, middleware=[OURS])

    get(shop)
    get(shop)

    lines = [one for one in caplog.messages if one.startswith("middleware_missing")]
    assert len(lines) == 1
    assert f"source={kind}:id" in lines[0]


@pytest.mark.parametrize(
    "cookie",
    ['"acme\\054 inc"', "müller", "a; who=b"],
)
def test_a_cookie_is_what_the_request_shows(
    site: MakeSite, get: Get, cookie: str
) -> None:
    """Django's async client sends a Cookie header of its own beside this one."""

    def view(request: Any) -> Any:
        shown, ours = request.COOKIES["who"], request.experiences.identity.customer_id
        return HttpResponse(f"{shown == ours} {shown!a} {ours!a}")

    shop = site(view, identity={"customer_id": {"cookie": "who"}}, middleware=[OURS])
    for client in (shop.client, shop.async_client):
        client.cookies.clear()
    raw = f"who={cookie}".encode().decode("latin-1")

    answered = get(shop, headers={"cookie": raw})

    assert answered.content.startswith(b"True "), answered.content
