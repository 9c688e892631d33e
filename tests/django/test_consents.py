"""Consent under Django, sync and async: who is recognised, and whose cookie goes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import get_user_model
from django.http import HttpResponse, JsonResponse
from django.utils.functional import cached_property
from django.views.decorators.cache import cache_page

from moe_middleware.models.visits import Visit
from moe_middleware.sandbox import Sandbox

from .sites import Site
from .urls import KEY, async_page, page

MakeSite = Callable[..., Site]
BY_COOKIE: dict[str, Any] = {"given_by": {"cookie": "consent"}}
VISITOR_ID = "3f0c9a52-0d7f-4c1e-9b7a-5d2c8e6f1a30"
CLEARED = "moe_visitor=; HttpOnly; Max-Age=0; Path=/; SameSite=Lax"
SECRET = "a secret key of these tests"
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


def tell(request: Any) -> Any:
    """Answer with what the app gets to know of its visitor."""
    experiences = request.experiences
    found = experiences.show(KEY)
    return JsonResponse(
        {
            "title": found.get("Title"),
            "reason": found.reason,
            "ids": [
                experiences.identity.customer_id,
                experiences.identity.visitor_id,
            ],
            "tracked": [
                experiences.track_impression(KEY),
                experiences.track_click(KEY),
            ],
            "link": found.click_url("/shop", "Shop"),
        }
    )


def plain(request: Any) -> Any:
    return HttpResponse("no experiences here")


async def async_plain(request: Any) -> Any:
    return plain(request)


@pytest.mark.parametrize("view", [page, async_page])
@pytest.mark.parametrize(
    "known_by",
    [{"customer_id": "alice"}, {"moe_visitor": VISITOR_ID}, {"moe_uuid": "device-7"}],
)
def test_without_consent_there_is_the_fallback_and_nothing_is_sent(
    site: MakeSite,
    visit: Callable[..., Any],
    sandbox: Sandbox,
    view: Any,
    known_by: dict[str, str],
) -> None:
    shop = site(view, identity=IDENTITY, consent=BY_COOKIE)

    response = visit(shop, **known_by)

    assert b"Welcome" in response.content
    assert shop.events == []
    assert sandbox.requests.latest(endpoint="fetch") == []


def test_a_signed_in_user_without_consent_is_unknown(
    site: MakeSite, sandbox: Sandbox
) -> None:
    shop = site(tell, consent=BY_COOKIE)
    shop.sign_in("alice")

    pages = [shop.get(), async_to_sync(shop.aget)()]

    assert [one.json()["ids"] for one in pages] == [[None, None]] * 2
    assert sandbox.requests.latest(endpoint="fetch") == []


# --- consent withdrawn -------------------------------------------------------

MAPPED = [("/", page), ("/", async_page)]
UNMAPPED = [("/plain", plain), ("/plain", async_plain)]


@pytest.mark.parametrize(("path", "view"), MAPPED + UNMAPPED)
@pytest.mark.parametrize("without", ["fallback", "anonymous"])
def test_our_cookie_goes_with_the_consent(
    site: MakeSite, visit: Callable[..., Any], path: str, view: Any, without: str
) -> None:
    shop = site(view, consent={**BY_COOKIE, "without": without})

    response = visit(shop, path, moe_visitor=VISITOR_ID, consent="no")

    assert cookies(response) == [CLEARED]
    assert response["Cache-Control"] == "private, max-age=0"


@pytest.mark.parametrize(("path", "view"), MAPPED + UNMAPPED)
def test_our_cookie_stays_with_the_consent(
    site: MakeSite, visit: Callable[..., Any], path: str, view: Any
) -> None:
    shop = site(view, consent=BY_COOKIE)

    response = visit(shop, path, moe_visitor=VISITOR_ID, consent="yes")

    assert cookies(response) == []


def test_a_view_that_django_caches_is_not_kept_for_others(
    site: MakeSite, visit: Callable[..., Any]
) -> None:
    shop = site(cache_page(60)(page), identity=IDENTITY, consent=BY_COOKIE)

    without = visit(shop, customer_id="alice")
    given = visit(shop, customer_id="alice", consent="yes")

    assert b"Welcome" in without.content
    assert b"Welcome" not in given.content


# --- consent in the database -------------------------------------------------


def consenting(visit: Visit) -> bool:
    return bool(visit.session and visit.session.get("consent") == "yes")


SOURCES = [{"session": "consent"}, {"call": f"{__name__}:consenting"}]


def have_session(shop: Site, **values: str) -> str:
    """Store a session; return its key."""
    session = shop.client.session
    session.update(values)
    session.save()
    return str(session.session_key)


@pytest.mark.parametrize("given_by", SOURCES, ids=["session", "call"])
@pytest.mark.parametrize(("path", "view"), MAPPED + UNMAPPED)
@pytest.mark.parametrize("consent", ["yes", "no"])
def test_a_consent_in_the_session_is_read(
    site: MakeSite,
    visit: Callable[..., Any],
    given_by: dict[str, str],
    path: str,
    view: Any,
    consent: str,
) -> None:
    shop = site(view, identity=IDENTITY, consent={"given_by": given_by})
    session = have_session(shop, consent=consent)

    response = visit(shop, path, moe_visitor=VISITOR_ID, sessionid=session)

    cleared = [one for one in cookies(response) if one.startswith("moe_visitor=")]
    assert len(cleared) == (1 if consent == "no" else 0)
    assert shop.shown == (1 if consent == "yes" and path == "/" else 0)


@pytest.mark.parametrize("view", [page, async_page])
@pytest.mark.parametrize("name", ["alice", "bob"])
def test_a_consent_of_the_user_is_read(site: MakeSite, view: Any, name: str) -> None:
    consent = {"given_by": {"user": "username"}, "values": ["alice"]}
    shop = site(view, consent=consent)
    shop.sign_in(name)

    pages = [shop.get(), async_to_sync(shop.aget)()]

    assert [b"Welcome" not in one.content for one in pages] == [name == "alice"] * 2
    assert shop.shown == (2 if name == "alice" else 0)


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
