"""Consent under Django, sync and async: who is recognised, and whose cookie goes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import get_user_model
from django.http import HttpResponse
from django.utils.functional import cached_property
from django.views.decorators.cache import cache_page

from moe_middleware.models.visits import Visit

from .sites import Site
from .urls import async_page, page

MakeSite = Callable[..., Site]
BY_COOKIE: dict[str, Any] = {"given_by": {"cookie": "consent"}}
VISITOR_ID = "3f0c9a52-0d7f-4c1e-9b7a-5d2c8e6f1a30"
CLEARED = "moe_visitor=; HttpOnly; Max-Age=0; Path=/; SameSite=Lax"
IDENTITY = {"customer_id": {"cookie": "customer_id"}}


@pytest.fixture
def visit(mode: str, get: Callable[..., Any]) -> Callable[..., Any]:
    """Visit a site with these cookies alone."""

    def ask(shop: Site, path: str = "/", headers: Any = None, **cookies: str) -> Any:
        client = shop.client if mode == "sync" else shop.async_client
        client.cookies.clear()
        client.cookies.load(cookies)
        return get(shop, path, headers=headers)

    return ask


def cookies(response: Any) -> list[str]:
    return [
        re.sub(r"expires=[^;]*; ", "", morsel.OutputString())
        for morsel in response.cookies.values()
    ]


def plain(request: Any) -> Any:
    return HttpResponse("no experiences here")


async def async_plain(request: Any) -> Any:
    return plain(request)


def test_a_view_that_django_caches_is_not_kept_for_others(
    site: MakeSite, visit: Callable[..., Any]
) -> None:
    shop = site(cache_page(60)(page), identity=IDENTITY, consent=BY_COOKIE)

    without = visit(shop, customer_id="alice")
    given = visit(shop, customer_id="alice", consent="yes")

    assert b"Welcome" in without.content
    assert b"Welcome" not in given.content


MAPPED = [("/", page), ("/", async_page)]
UNMAPPED = [("/plain", plain), ("/plain", async_plain)]


def consenting(visit: Visit) -> bool:
    return bool(visit.session and visit.session.get("consent") == "yes")


SOURCES = [
    {"cookie": "consent"},
    {"session": "consent"},
    {"call": f"{__name__}:consenting"},
]


def have_session(shop: Site, **values: str) -> str:
    """Store a session; return its key."""
    session = shop.client.session
    session.update(values)
    session.save()
    return str(session.session_key)


@pytest.mark.parametrize("given_by", SOURCES, ids=["cookie", "session", "call"])
@pytest.mark.parametrize(("path", "view"), MAPPED + UNMAPPED)
@pytest.mark.parametrize("consent", ["yes", "no"])
def test_our_cookie_goes_with_the_consent(
    site: MakeSite,
    visit: Callable[..., Any],
    given_by: dict[str, str],
    path: str,
    view: Any,
    consent: str,
) -> None:
    shop = site(view, identity=IDENTITY, consent={"given_by": given_by})
    session = have_session(shop, consent=consent)

    response = visit(
        shop, path, moe_visitor=VISITOR_ID, sessionid=session, consent=consent
    )

    ours = [one for one in cookies(response) if one.startswith("moe_visitor=")]
    assert ours == ([CLEARED] if consent == "no" else [])
    if consent == "no":
        assert response["Cache-Control"] == "private, max-age=0"
    assert shop.shown == (1 if consent == "yes" and path == "/" else 0)


class Profile:
    """What a row of another table holds of a user."""

    def __init__(self, user: Any) -> None:
        found: Any = get_user_model().objects.get(pk=user.pk)
        self.consent = found.username


@pytest.fixture
def profiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give users a profile that comes from the database when it is first read."""
    profile = cached_property(Profile)
    profile.__set_name__(get_user_model(), "profile")
    monkeypatch.setattr(get_user_model(), "profile", profile, raising=False)


@pytest.mark.parametrize(("path", "view"), MAPPED + UNMAPPED)
@pytest.mark.parametrize("name", ["alice", "bob"])
def test_a_consent_in_another_table_is_read(
    site: MakeSite, profiles: None, path: str, view: Any, name: str
) -> None:
    consent = {"given_by": {"user": "profile.consent"}, "values": ["alice"]}
    shop = site(view, consent=consent)
    shop.sign_in(name)
    for client in (shop.client, shop.async_client):
        client.cookies["moe_visitor"] = VISITOR_ID

    pages = [shop.get(path), async_to_sync(shop.aget)(path)]

    assert [len(cookies(one)) for one in pages] == [0 if name == "alice" else 1] * 2
    assert shop.shown == (2 if (name, path) == ("alice", "/") else 0)
