"""The Django door: a middleware for ``MIDDLEWARE``, at home in sync and in async."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping, Set
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from starlette.types import ASGIApp, Receive, Scope, Send

from ..asgi import MoEngageMiddleware as ASGIMiddleware
from ..browser.endpoints import Reply
from ..browser.preview_badges import UNWANTED_META
from ..concurrency.background_loop import background
from ..models.cookies import django_cookies, starlette_cookies
from ..models.errors import DuplicateMiddlewareError, Problem, SettingsError
from ..models.experience import EMPTY
from ..models.visits import Visit
from ..personalizer.current import current
from ..personalizer.runtime import runtime_for
from ..settings.settings import Settings
from ..settings.value_sources import ValueSource

try:
    from asgiref.sync import (
        async_to_sync,
        iscoroutinefunction,
        markcoroutinefunction,
        sync_to_async,
    )
    from django.conf import settings as project
    from django.contrib.auth.signals import user_logged_in, user_logged_out
    from django.core.exceptions import ImproperlyConfigured
    from django.http import HttpRequest, HttpResponse
    from django.http.response import HttpResponseBase
except ImportError as error:
    raise ImportError(
        "moe_middleware.django needs Django: pip install django"
    ) from error

from .pages import DjangoPage, DjangoSession
from .responses import send_off

if TYPE_CHECKING:
    from django.core.handlers.asgi import ASGIHandler

KEY = "moe_middleware"

Answer = HttpResponseBase | Awaitable[HttpResponseBase]
"""A response, which an async view has to be awaited for."""


class MoEngageMiddleware:
    """Prefetches a route's experiences, attaches them, and counts what was shown.

    Views find them as ``request.experiences``, anything else by
    ``current_experiences()``. List it in ``MIDDLEWARE`` below Django's
    AuthenticationMiddleware: the signed-in user's ``pk`` is the customer_id, unless the
    settings name another source.

    The settings are Django's own setting ``MOENGAGE``: the path of a settings file, a
    mapping of what stands in one, or a ``Settings``; without it, the file that
    ``MOE_CONFIG`` names, else ``moe.yml``.

    Args:
        get_response: The rest of Django, sync or async.

    Raises:
        SettingsError: The configuration is wrong; it lists every mistake.
        ImproperlyConfigured: ``MOENGAGE`` is none of the above, or ``MIDDLEWARE`` lists
            this one too early to know who is signed in.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Answer]) -> None:
        self.get_response = get_response
        self.runtime = runtime_for(project_settings())
        sources = [source for _, source in self.runtime.settings.sources()]
        _check_order(type(self), {source.kind for source in sources})
        # Without a user, the default source is none, and nothing is missed.
        named = {source.kind for source in sources if source is not SIGNED_IN}
        self._needed = [kind for kind in _NEEDED if kind in named]
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
                _prepare_preview(page, request)
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
                _prepare_preview(page, request)
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
            # A middleware above tries again: what came of the first try is not sent.
            earlier.end()
        engine = self.runtime.personalizer
        return DjangoPage(engine, request, self.visit_of, loop)

    async def _reply(self, request: HttpRequest) -> Reply:
        """Answer for one of our own paths."""
        own_paths = self.runtime.own_paths
        most = own_paths.max_body(request.path_info)
        body = await sync_to_async(request.read)(most + 1) if most else b""
        return await own_paths.reply(self.visit_of(request), body)

    def visit_of(self, request: HttpRequest) -> Visit:
        """Return what a request tells."""
        scope = getattr(request, "scope", None)
        if scope is not None:
            # Of several Cookie headers Django makes one, each release in its own way.
            headers = [one for one in scope["headers"] if one[0] != b"cookie"]
            if cookie := request.META.get("HTTP_COOKIE"):
                headers.append((b"cookie", cookie.encode("latin-1", "replace")))
            query_string = scope.get("query_string", b"")
            if isinstance(query_string, str):
                # Django's own AsyncClient hands over text.
                query_string = query_string.encode("latin-1", "replace")
        else:
            headers = [
                (
                    name.lower().encode("latin-1"),
                    str(value).encode("latin-1", "replace"),
                )
                for name, value in request.headers.items()
            ]
            told = request.META.get("QUERY_STRING", "")
            query_string = told.encode("latin-1", "replace")
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
            in_thread=sync_to_async,
            # Under WSGI Django takes a cookie's bytes for UTF-8.
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
    """Return an ASGI application that lives as long as its server, for ``asgi.py``.

    Django itself is never told when a server starts or stops. With this we connect
    before the first page and deliver what waits after the last, as WSGI servers let us
    do anyway::

        application = lifespan(get_asgi_application())
    """
    return _Lifespan(cast(ASGIApp, application), config=project_settings())


class _Lifespan(ASGIMiddleware):
    """Opens and closes; the pages are the business of the one in ``MIDDLEWARE``."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)


# --- settings ----------------------------------------------------------------

SIGNED_IN = ValueSource(user="pk")
"""Where the customer_id comes from when the settings do not say."""

_known: dict[str, tuple[object, Settings]] = {}


def project_settings(**keywords: Any) -> Settings:
    """Return the project's settings: the same object for the same configuration.

    Each of Django's test clients makes a middleware of its own; they share one cache.

    Args:
        keywords: As for ``Settings.load``.

    Raises:
        SettingsError: The configuration is wrong; it lists every mistake.
        ImproperlyConfigured: ``MOENGAGE`` is no configuration at all.
    """
    given = getattr(project, "MOENGAGE", None)
    loaded = _loaded(given, keywords)
    name = str(id(given)) if loaded is given else loaded.fingerprint.hex()
    if loaded.identity.customer_id is None:
        identity = loaded.identity.model_copy(update={"customer_id": SIGNED_IN})
        loaded = loaded.model_copy(update={"identity": identity})
    return _known.setdefault(name, (given, loaded))[1]


def _loaded(given: object, keywords: Mapping[str, Any]) -> Settings:
    if not (given is None or isinstance(given, Settings | Mapping | str | os.PathLike)):
        raise ImproperlyConfigured(
            f"MOENGAGE is {type(given).__name__}: set it to the path of a settings "
            "file, a mapping of what stands in one, or a moe_middleware.Settings"
        )
    try:
        return Settings.of(given, **keywords)
    except SettingsError as error:
        told = [_of_the_setting(problem, given) for problem in error.problems]
        raise SettingsError(told) from error


def _of_the_setting(problem: Problem, given: object) -> Problem:
    """Name Django's setting where it is the one to mend."""
    if problem.file is None:
        return replace(problem, file="MOENGAGE")
    if problem.line is not None or Path(problem.file).exists():
        return problem
    named = "holds a mapping instead" if given else "names it, or holds a mapping"
    about = f"{problem.message}; the setting MOENGAGE {named}"
    return replace(problem, message=about)


def _prepare_preview(page: DjangoPage, request: HttpRequest) -> None:
    """Let the app make a whole page, which a preview's badge can be added to."""
    if page.is_preview:
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


_NEEDED = {
    "session": "django.contrib.sessions.middleware.SessionMiddleware",
    "user": "django.contrib.auth.middleware.AuthenticationMiddleware",
}


_ABSENT = {
    kind: f"this request has no {kind}: MIDDLEWARE does not list {middleware}, or "
    "lists it below ours"
    for kind, middleware in _NEEDED.items()
}


def _check_order(middleware: type, kinds: Set[str]) -> None:
    own = f"{middleware.__module__}.{middleware.__qualname__}"
    listed = list(project.MIDDLEWARE)
    above = listed[: listed.index(own)] if own in listed else listed
    for kind, other in _NEEDED.items():
        if kind in kinds and other in listed and other not in above:
            raise ImproperlyConfigured(
                f"MIDDLEWARE lists {own} above {other}, where a request has no "
                f"{kind} yet: list it below"
            )


# --- the request -------------------------------------------------------------


def _holder(request: HttpRequest) -> MutableMapping[str, Any]:
    """Return where our doors leave their mark on a request, whichever they are."""
    scope = getattr(request, "scope", None)
    holder: MutableMapping[str, Any] = request.META if scope is None else scope
    return holder


@contextmanager
def _marked(request: HttpRequest, page: DjangoPage) -> Iterator[None]:
    """Mark a request as being with us, and no longer than that.

    A middleware above may try again with the same request. One that a view makes from
    it, for a part of its page, is another request.

    Raises:
        DuplicateMiddlewareError: It is with one of our middlewares already.
    """
    holder = _holder(request)
    outer = holder.get(KEY)
    if outer is not None and not _is_of_another(outer, request):
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


def _is_of_another(page: object, request: HttpRequest) -> bool:
    return isinstance(page, DjangoPage) and not page.is_of(request)


def _page_of(request: HttpRequest) -> DjangoPage | None:
    found = getattr(request, "experiences", None)
    return found if isinstance(found, DjangoPage) else None


def _user_changed(
    sender: object, request: HttpRequest, user: object, **_: object
) -> None:
    page = _page_of(request)
    if page is not None:
        page.forget_user(user)
