"""What a response goes through above our middleware: caches, copies, late use, retries.

Middlewares that stand for other apps' are classes of this module.
"""

from __future__ import annotations

import copy
import logging
import pickle
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache, caches
from django.http import HttpResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.test import RequestFactory
from django.views.decorators.cache import cache_page

from moe_middleware.browser.overlay_access import OverlayLinks

from ..redis_servers import redis_server
from .project import MIDDLEWARE, TAG
from .sites import Site, body
from .urls import KEY, page, stream

MakeSite = Callable[..., Site]
Get = Callable[..., Any]

BY_COOKIE = {"customer_id": {"cookie": "customer_id"}}
HERE = __name__
FETCH = "django.middleware.cache.FetchFromCacheMiddleware"
UPDATE = "django.middleware.cache.UpdateCacheMiddleware"


def be(shop: Site, name: str) -> None:
    for client in (shop.client, shop.async_client):
        client.cookies["customer_id"] = name


class Around:
    """A middleware: what it is for, its subclasses say."""

    sync_capable, async_capable = True, False

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        return self.change(request, self.get_response(request))

    def change(self, request: Any, response: Any) -> Any:
        return response


# --- Django's per-site cache -------------------------------------------------


def plain(_: Any) -> Any:
    made.append("plain")
    return HttpResponse("for all")


def template(request: Any) -> Any:
    made.append("template")
    return TemplateResponse(request, "plain.html")


made: list[str] = []

PLAIN = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {
            "loaders": [
                (
                    "django.template.loaders.locmem.Loader",
                    {"plain.html": "for all", "page.html": TAG},
                )
            ]
        },
    }
]

ORDERS = {
    "update first, fetch last": [UPDATE, *MIDDLEWARE, FETCH],
    "both above": [UPDATE, FETCH, *MIDDLEWARE],
    "both below": [*MIDDLEWARE, UPDATE, FETCH],
    "one for both": ["django.middleware.cache.CacheMiddleware", *MIDDLEWARE],
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_the_cache_keeps_no_page_with_the_overlay(
    site: MakeSite, get: Get, order: list[str]
) -> None:
    secret = "a secret key of the overlay's tests"
    development = {"overlay": "link"}
    shop = site(plain, middleware=order, development=development, secret_key=secret)
    links = OverlayLinks([secret], path="", clock=time.time)
    for client in (shop.client, shop.async_client):
        client.cookies["moe_overlay"] = links.make("/", int(time.time()) + 60)

    with_it = get(shop)
    for client in (shop.client, shop.async_client):
        client.cookies.clear()
    others = [get(shop), get(shop)]

    assert b"<moe-overlay" in with_it.content
    assert with_it["Cache-Control"] == "no-store"
    assert [answer.content for answer in others] == [b"for all"] * 2


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize(
    ("view", "path"), [(plain, "/"), (cache_page(60)(template), "/unmapped")]
)
def test_a_page_that_shows_nothing_is_kept_by_the_per_site_cache(
    site: MakeSite, get: Get, order: list[str], view: Any, path: str
) -> None:
    made.clear()
    shop = site(
        view, middleware=order, identity=BY_COOKIE, project={"TEMPLATES": PLAIN}
    )

    answers = []
    for name in ("alice", "bob"):
        be(shop, name)
        answers.append(get(shop, path))

    assert [one.content for one in answers] == [b"for all"] * 2
    assert len(made) == 1
    # The second response has been pickled; it ends as any response does.
    answers[1].close()


@pytest.fixture
def backends(tmp_path: Path) -> Iterator[dict[str, dict[str, Any]]]:
    with redis_server(tmp_path) as redis:
        yield {
            "locmem": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
            "file": {
                "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
                "LOCATION": str(tmp_path / "kept"),
            },
            "redis": {
                "BACKEND": "django.core.cache.backends.redis.RedisCache",
                "LOCATION": redis.url,
            },
        }


def test_every_kind_of_cache_keeps_it(
    site: MakeSite, get: Get, backends: dict[str, dict[str, Any]]
) -> None:
    for name, backend in backends.items():
        made.clear()
        shop = site(
            plain,
            middleware=[UPDATE, *MIDDLEWARE, FETCH],
            identity=BY_COOKIE,
            project={"CACHES": {"default": backend}},
        )
        cache.clear()
        be(shop, "alice")
        answers = [get(shop).content for _ in range(2)]
        caches["default"].close()

        assert (name, answers, len(made)) == (name, [b"for all"] * 2, 1)


@pytest.mark.parametrize(
    ("order", "view"),
    [
        *((order, page) for order in ORDERS.values()),
        (MIDDLEWARE, cache_page(60)(page)),
        ([UPDATE, *MIDDLEWARE, FETCH], lambda one: TemplateResponse(one, "page.html")),
    ],
    ids=[*ORDERS, "cache_page", "template response"],
)
def test_a_page_that_shows_something_is_kept_by_none(
    site: MakeSite, get: Get, order: list[str], view: Any
) -> None:
    shop = site(view, middleware=order, identity=BY_COOKIE)

    pages = []
    for name in ("alice", "bob", "alice"):
        be(shop, name)
        pages.append(get(shop).content)

    assert pages[0] == pages[2] != pages[1]
    assert shop.shown == 3


def test_a_response_pickles_as_it_would_without_us(site: MakeSite) -> None:
    site(plain)
    from moe_middleware.django import MoEngageMiddleware

    response: Any = MoEngageMiddleware(plain)(RequestFactory().get("/"))
    pickled = pickle.dumps(response)
    response.close()
    again = pickle.loads(pickled)
    again.close()

    # Kept pages outlive a deploy without us.
    assert b"moe_middleware" not in pickled
    assert again.content == b"for all"


class Copying(Around):
    """Hands on a copy of the response, as some caches do."""

    def change(self, request: Any, response: Any) -> Any:
        return copy.deepcopy(response)


def test_a_copied_response_counts_once(site: MakeSite, get: Get) -> None:
    shop = site(page, middleware=[f"{HERE}.Copying", *MIDDLEWARE])

    assert b"Welcome" not in get(shop).content
    assert shop.shown == 1


def test_what_we_leave_with_a_request_is_copied_and_pickled(
    site: MakeSite, get: Get
) -> None:
    def view(request: Any) -> Any:
        ours = request.experiences
        kept = pickle.loads(pickle.dumps(ours))
        copied = copy.deepcopy({"experiences": ours, **request.META})["experiences"]
        shallow = copy.copy(request).experiences
        titles = {one[KEY].Title for one in (ours, kept, copied, shallow)}
        assert len(titles) == 1
        copied.show(KEY)
        return HttpResponse("fine")

    shop = site(view)

    assert get(shop).content == b"fine"
    assert shop.shown == 1


# --- used above our middleware -----------------------------------------------


class Late(Around):
    """Renders what must not be kept once the rest is there, as Mezzanine's cache."""

    def change(self, request: Any, response: Any) -> Any:
        late = engines["django"].from_string(TAG).render({}, request)
        response.content = response.content + late.encode()
        return response


class LateRead(Around):
    def change(self, request: Any, response: Any) -> Any:
        response["X-Source"] = request.experiences[KEY].source
        return response


class LateList(Around):
    def change(self, request: Any, response: Any) -> Any:
        response["X-Keys"] = ",".join(request.experiences)
        return response


class LateFetch(Around):
    def change(self, request: Any, response: Any) -> Any:
        response["X-Source"] = request.experiences.fetch_sync(KEY).source
        return response


@pytest.mark.parametrize(
    ("late", "order"),
    [
        ("Late", [*MIDDLEWARE]),
        ("LateList", [*MIDDLEWARE]),
        ("LateRead", [UPDATE, *MIDDLEWARE, FETCH]),
        ("LateFetch", [*MIDDLEWARE, UPDATE, FETCH]),
    ],
    ids=["no cache", "a list", "a cache around", "a cache within"],
)
def test_the_headers_follow_what_a_middleware_above_uses(
    site: MakeSite, get: Get, late: str, order: list[str]
) -> None:
    shop = site(plain, middleware=[f"{HERE}.{late}", *order], identity=BY_COOKIE)

    pages = []
    for name in ("alice", "bob"):
        be(shop, name)
        pages.append(get(shop))

    for one in pages:
        assert "private" in one["Cache-Control"]
        assert "Cookie" in one["Vary"]
    if late == "Late":
        assert pages[0].content != pages[1].content
        assert [event.customer_id for event in shop.events] == ["alice", "bob"]


def test_headers_of_the_app_are_kept_where_ours_follow(
    site: MakeSite, get: Get
) -> None:
    def view(_: Any) -> Any:
        return HttpResponse(
            headers={
                "Cache-Control": "public, max-age=60",
                "Vary": "Accept-Language",
                "CDN-Cache-Control": "max-age=60",
            }
        )

    answered = get(site(view, middleware=[f"{HERE}.LateRead", *MIDDLEWARE]))

    assert answered["Cache-Control"] == "private, max-age=60"
    assert answered["Vary"].split(", ")[:2] == ["Accept-Language", "Cookie"]
    assert answered["CDN-Cache-Control"] == "no-store"


def test_a_visitor_who_is_met_above_gets_a_cookie(site: MakeSite, get: Get) -> None:
    shop = site(
        plain,
        middleware=[f"{HERE}.LateFetch", *MIDDLEWARE],
        identity=BY_COOKIE,
        routes=[],
    )

    first, second = get(shop), get(shop)

    assert first.cookies["moe_visitor"].value
    assert "private" in first["Cache-Control"]
    assert [first["X-Source"], second["X-Source"]] == ["api", "cache"]
    assert not second.cookies


@pytest.mark.parametrize("mapped", [True, False], ids=["mapped", "unmapped"])
def test_a_stream_that_uses_them_after_its_headers_says_so(
    site: MakeSite, mapped: bool, caplog: pytest.LogCaptureFixture
) -> None:
    shop = site(stream, identity=BY_COOKIE, **({} if mapped else {"routes": []}))
    be(shop, "alice")

    response = shop.get()
    headers = response.get("Cache-Control", "")
    body(response)
    response.close()

    # A mapped page is kept private ahead: there is nothing to say.
    assert ("private" in headers) == mapped
    assert caplog.text.count("read_too_late") == (0 if mapped else 1)


class Replacing(Around):
    """Makes a response of its own from what it got."""

    def change(self, request: Any, response: Any) -> Any:
        return HttpResponse(response.content.upper(), status=response.status_code)


def test_a_response_that_was_replaced_counts_nothing_and_says_so(
    site: MakeSite, get: Get, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    shop = site(page, middleware=[f"{HERE}.Replacing", *MIDDLEWARE])

    get(shop)

    assert shop.shown == 0
    assert f"response_replaced keys={KEY}" in caplog.text


closed: list[str] = []


class Closing(Around):
    """Watches the request's end by a ``close`` of its own."""

    def __call__(self, request: Any) -> Any:
        close = request.close

        def closing() -> None:
            closed.append(request.path)
            close()

        request.close = closing
        return self.get_response(request)


@pytest.mark.parametrize("outside", [True, False], ids=["outside", "inside"])
def test_a_close_of_the_apps_own_is_called_once(
    site: MakeSite, get: Get, outside: bool
) -> None:
    closed.clear()
    own = f"{HERE}.Closing"
    around = [own, *MIDDLEWARE] if outside else [*MIDDLEWARE, own]

    get(site(plain, middleware=around))

    assert closed == ["/"]


# --- tried again, and made from another --------------------------------------


class Retrying(Around):
    """Tries again with the same request where the first answer is a bad one."""

    def change(self, request: Any, response: Any) -> Any:
        return response if response.status_code < 400 else self.get_response(request)


class RetryingAfterErrors(Around):
    def __call__(self, request: Any) -> Any:
        for _ in range(2):
            response = self.get_response(request)
            if response.status_code != 500:
                break
        return response


@pytest.mark.parametrize("retrying", ["Retrying", "RetryingAfterErrors"])
def test_a_second_try_with_the_same_request_works_and_counts_once(
    site: MakeSite, get: Get, retrying: str
) -> None:
    tried = []

    def view(request: Any) -> Any:
        tried.append(request.experiences.show(KEY).source)
        if len(tried) == 1:
            raise RuntimeError("mine")
        return HttpResponse("second")

    shop = site(
        view, middleware=[f"{HERE}.{retrying}", *MIDDLEWARE], identity=BY_COOKIE
    )
    be(shop, "alice")

    answered = get(shop)

    assert (answered.status_code, answered.content) == (200, b"second")
    assert tried == ["api", "cache"]
    assert shop.shown == 1


def test_a_request_that_a_view_makes_from_its_own_is_another(
    site: MakeSite, get: Get
) -> None:
    """Edge includes and batches run a copy of their request through the chain."""
    from django.core.handlers.base import BaseHandler

    def outer(request: Any) -> Any:
        inner = copy.copy(request)
        inner.path = inner.path_info = "/part"
        handler = BaseHandler()
        handler.load_middleware()
        part = b"".join(handler.get_response(inner))
        return HttpResponse(part + request.experiences.show(KEY).source.encode())

    def part(request: Any) -> Any:
        return HttpResponse(request.experiences.show(KEY).source + "+")

    routes = [{"path": "/{all:path}", "experiences": [KEY]}]
    shop = site(outer, urls={"part": part}, routes=routes, identity=BY_COOKIE)
    be(shop, "alice")

    answered = get(shop)

    assert answered.content == b"cache+api"
    assert shop.shown == 1


# --- previews of a CMS -------------------------------------------------------


class Toolbar:
    """django CMS's, as far as it says what an editor does."""

    def __init__(self, **modes: bool) -> None:
        self.edit_mode_active = False
        vars(self).update(modes)


class BrokenToolbar:
    @property
    def edit_mode_active(self) -> bool:
        raise LookupError("no page here")


@pytest.mark.parametrize(
    ("marks", "count"),
    [
        ({"is_dummy": True}, 0),
        ({"is_preview": True}, 0),
        ({"in_preview_panel": True}, 0),
        ({"is_preview": False, "preview_mode": ""}, 1),
        ({"toolbar": Toolbar(edit_mode_active=True)}, 0),
        ({"toolbar": Toolbar(preview_mode_active=True)}, 0),
        ({"toolbar": Toolbar(structure_mode_active=True)}, 0),
        ({"toolbar": Toolbar()}, 1),
        ({"toolbar": BrokenToolbar()}, 1),
        ({"toolbar": None}, 1),
    ],
)
def test_a_preview_of_a_cms_counts_nothing(
    site: MakeSite, get: Get, marks: dict[str, Any], count: int
) -> None:
    def view(request: Any) -> Any:
        response = page(request)
        # As late as can be.
        vars(request).update(marks)
        return response

    shop = site(view)

    assert b"Welcome" not in get(shop).content
    assert shop.shown == count


def test_a_preview_has_no_links_that_count(site: MakeSite, get: Get) -> None:
    def view(request: Any) -> Any:
        request.is_preview = bool(request.GET)
        hero = request.experiences[KEY]
        return HttpResponse(f"{hero.click_url('/shop')} {hero.attrs('Shop')}")

    shop = site(view, secret_key="of-this-test-and-of-no-other-one")

    assert get(shop, "/?preview=1").content == b"/shop "
    assert get(shop).content.startswith(b"/_moe/c/")


def test_a_view_can_say_that_its_page_counts_nothing(site: MakeSite, get: Get) -> None:
    def view(request: Any) -> Any:
        request.experiences.count(False)
        return page(request)

    shop = site(view)
    get(shop)

    assert shop.shown == 0
