"""The Django door: a middleware for ``MIDDLEWARE``, for sync and async projects."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from starlette.types import ASGIApp, Receive, Scope, Send

from ..asgi import MoEngageMiddleware as ASGIMiddleware
from ..browser.endpoints import Reply
from ..browser.html_endings import UNWANTED_META
from ..concurrency.background_loop import background
from ..models.cookies import django_cookies, starlette_cookies
from ..models.errors import DuplicateMiddlewareError
from ..models.experience import EMPTY
from ..models.visits import Visit
from ..personalizer.current import KEY, current
from ..personalizer.open_runtimes import open_door
from ..personalizer.runtime import Runtime

try:
    from asgiref.sync import (
        async_to_sync,
        iscoroutinefunction,
        markcoroutinefunction,
        sync_to_async,
    )
    from django.contrib.auth.signals import user_logged_in, user_logged_out
    from django.core.exceptions import ImproperlyConfigured
    from django.http import HttpRequest, HttpResponse
    from django.http.response import HttpResponseBase
except ImportError as error:
    raise ImportError(
        "moe_middleware.django needs Django: pip install django"
    ) from error

from .configuration import (
    NEEDED,
    needed_kinds,
    order_faults,
    project_settings,
    warn_without_app,
)
from .pages import DjangoPage, DjangoSession
from .responses import send_off

if TYPE_CHECKING:
    from django.core.handlers.asgi import ASGIHandler

Answer = HttpResponseBase | Awaitable[HttpResponseBase]
"""A response; an async view's has to be awaited."""


class MoEngageMiddleware:
    """Prefetches a route's experiences, attaches them, and counts what was shown.

    Views find them as ``request.experiences``, anything else by
    ``current_experiences()``. List it in ``MIDDLEWARE`` below Django's
    AuthenticationMiddleware: the signed-in user's ``pk`` is the customer_id, unless the
    settings name another source.

    The settings are Django's own setting ``MOENGAGE``: the path of a settings file, a
    mapping like a file's content, or a ``Settings``; without it, the file that
    ``MOE_CONFIG`` names, else ``moe.yml``.

    Args:
        get_response: The rest of Django, sync or async.

    Raises:
        SettingsError: The configuration is invalid; it lists every mistake.
        ImproperlyConfigured: ``MOENGAGE`` is none of the above, or ``MIDDLEWARE`` lists
            this middleware above one that it needs.
    """

    sync_capable = True
    async_capable = True

    runtime: Runtime

    def __init__(self, get_response: Callable[[HttpRequest], Answer]) -> None:
        self.get_response = get_response
        open_door(self, project_settings())
        own = f"{type(self).__module__}.{type(self).__qualname__}"
        for fault in order_faults(own, self.runtime.settings):
            raise ImproperlyConfigured(fault)
        warn_without_app()
        self._needed = needed_kinds(self.runtime.settings)
        # By its id, each is connected once: test clients make many middlewares.
        user_logged_in.connect(_user_changed, dispatch_uid=KEY)
        user_logged_out.connect(_user_changed, dispatch_uid=KEY)
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Answer:
        if self._is_async:
            return self._answer(request)
        page = self._page(request, self.runtime.start_in_background())
        try:
            with _marked(request, page):
                if self.runtime.own_paths.answers(request.path_info):
                    page.end()
                    return _response(async_to_sync(self._reply)(request))
                request.experiences = page  # type: ignore[attr-defined]
                mapped = page.find_routes(
                    request.method or "", request.path_info or "/"
                )
                if mapped and not page.answer_at_once(page.wait_for):
                    background.run(page.prefetch())
                _prepare_ending(page, request)
                response = cast(HttpResponseBase, self.get_response(request))
                send_off(page, request, response)
            if page.forgetting is not None:
                page.forgetting.result()
        except BaseException:
            page.end()
            raise
        return response

    async def _answer(self, request: HttpRequest) -> HttpResponseBase:
        page = self._page(request, self.runtime.start())
        try:
            with _marked(request, page):
                if self.runtime.own_paths.answers(request.path_info):
                    page.end()
                    return _response(await self._reply(request))
                request.experiences = page  # type: ignore[attr-defined]
                if self.runtime.personalizer.logins.reads_session:
                    await page.load_session()
                mapped = page.find_routes(
                    request.method or "", request.path_info or "/"
                )
                if mapped and not page.answer_at_once():
                    await page.prefetch()
                _prepare_ending(page, request)
                response = await cast(
                    Awaitable[HttpResponseBase], self.get_response(request)
                )
                if page.owes_consent:
                    await page.ask_consent()
                send_off(page, request, response)
            if page.forgetting is not None:
                await asyncio.wrap_future(page.forgetting)
        except BaseException:
            page.end()
            raise
        return response

    def _page(
        self, request: HttpRequest, loop: asyncio.AbstractEventLoop
    ) -> DjangoPage:
        earlier = _page_of(request)
        if (
            earlier is not None
            and earlier.is_of(request)
            and KEY not in _holder(request)
        ):
            # A middleware above ours tries again; the first try's response is
            # discarded.
            earlier.end()
        engine = self.runtime.personalizer
        return DjangoPage(engine, request, self.visit_of, loop)

    async def _reply(self, request: HttpRequest) -> Reply:
        """Return the reply of one of our endpoints."""
        own_paths = self.runtime.own_paths
        most = own_paths.max_body(request.path_info)
        # The body may still be on its way.
        body = await sync_to_async(request.read)(most + 1) if most else b""
        return await own_paths.reply(self.visit_of(request), body)

    def visit_of(self, request: HttpRequest) -> Visit:
        """Return the visit of a request."""
        scope = getattr(request, "scope", None)
        if scope is not None:
            # Django joins several Cookie headers, in a way that depends on its release.
            headers = [one for one in scope["headers"] if one[0] != b"cookie"]
            if cookie := request.META.get("HTTP_COOKIE"):
                headers.append((b"cookie", cookie.encode("latin-1", "replace")))
            query_string = scope.get("query_string", b"")
            if isinstance(query_string, str):
                # Django's AsyncClient passes text.
                query_string = query_string.encode("latin-1", "replace")
        else:
            headers = [
                (
                    name.lower().encode("latin-1"),
                    str(value).encode("latin-1", "replace"),
                )
                for name, value in request.headers.items()
            ]
            query = request.META.get("QUERY_STRING", "")
            query_string = query.encode("latin-1", "replace")
        session = getattr(request, "session", None)
        if session is not None and not isinstance(session, Mapping):
            session = DjangoSession(request)
        return Visit(
            method=request.method or "",
            path=request.path_info or "/",
            root_path=request.META.get("SCRIPT_NAME", ""),
            headers=headers,
            query_string=query_string,
            scheme=request.scheme or "http",
            peer=request.META.get("REMOTE_ADDR") or None,
            session=session,
            user=getattr(request, "user", None),
            absent=self._absent_from(request),
            # Functions of the settings may use the ORM, which needs Django's thread.
            in_thread=sync_to_async,
            # Under WSGI, Django decodes cookies as UTF-8.
            read_cookies=django_cookies if scope is None else starlette_cookies,
        )

    def _absent_from(self, request: HttpRequest) -> Mapping[str, str]:
        lacking = [kind for kind in self._needed if not hasattr(request, kind)]
        return {kind: _ABSENT[kind] for kind in lacking} if lacking else EMPTY


_TWICE = (
    "MoEngageMiddleware met a request that it has already personalized: MIDDLEWARE "
    "lists it twice, or one of our middlewares also wraps the app in wsgi.py or "
    "asgi.py. Keep the one in MIDDLEWARE."
)


def lifespan(application: ASGIApp | ASGIHandler) -> ASGIApp:
    """Return an ASGI application that supports the lifespan protocol, for ``asgi.py``.

    Django does not take part in a server's start and stop. With this, the middleware
    connects before the first page, and delivers waiting events after the last one. WSGI
    servers need no such thing::

        application = lifespan(get_asgi_application())
    """
    return _Lifespan(cast(ASGIApp, application), config=project_settings())


class _Lifespan(ASGIMiddleware):
    """Runs startup and shutdown; the middleware in ``MIDDLEWARE`` has the pages."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def _prepare_ending(page: DjangoPage, request: HttpRequest) -> None:
    """Make the app return a whole page, to which something can be added."""
    if page.has_ending:
        # Older releases of Django keep a page in spite of its ``no-store``.
        request._cache_update_cache = False  # type: ignore[attr-defined]
        for name in UNWANTED_META:
            request.META.pop(name, None)


def _response(reply: Reply) -> HttpResponse:
    response = HttpResponse(reply.body, status=reply.status)
    for name, text in reply.headers:
        if name == b"set-cookie":
            response.cookies.load(text.decode("latin-1"))
        else:
            response[name.decode()] = text.decode("latin-1")
    return response


_ABSENT = {
    kind: f"this request has no {kind}: MIDDLEWARE does not list {middleware}, or "
    "lists it below ours"
    for kind, middleware in NEEDED.items()
}


# --- the request -------------------------------------------------------------


def _holder(request: HttpRequest) -> MutableMapping[str, Any]:
    """Return the mapping in which our doors mark a request."""
    scope = getattr(request, "scope", None)
    holder: MutableMapping[str, Any] = request.META if scope is None else scope
    return holder


@contextmanager
def _marked(request: HttpRequest, page: DjangoPage) -> Iterator[None]:
    """Mark a request as personalized, for as long as we handle it.

    A middleware above ours may try again with the same request. A request that a view
    derives from it, for a part of its page, is another one.

    Raises:
        DuplicateMiddlewareError: One of our middlewares handles it already.
    """
    holder = _holder(request)
    outer = holder.get(KEY)
    of_another = isinstance(outer, DjangoPage) and not outer.is_of(request)
    if outer is not None and not of_another:
        raise DuplicateMiddlewareError(_TWICE)
    holder[KEY] = page
    token = current.set(page)
    try:
        yield
    finally:
        current.reset(token)
        if outer is None:
            holder.pop(KEY, None)
        else:
            holder[KEY] = outer


def _page_of(request: HttpRequest) -> DjangoPage | None:
    found = getattr(request, "experiences", None)
    return found if isinstance(found, DjangoPage) else None


def _user_changed(
    sender: object, request: HttpRequest, user: object, **_: object
) -> None:
    page = _page_of(request)
    if page is not None:
        page.forget_user(user)
