"""The Django door: a middleware for ``MIDDLEWARE``, at home in sync and in async."""

from __future__ import annotations

import asyncio
import os
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Iterator,
    Mapping,
    MutableMapping,
    Sequence,
    Set,
)
from typing import Any, TypeVar

from starlette.types import ASGIApp, Receive, Scope, Send

from .asgi import MoEngageMiddleware as ASGIMiddleware
from .cache import visitor_key
from .current import current, on_event_loop
from .errors import DuplicateMiddlewareError
from .identity import DEVICE_COOKIE
from .loop_threads import background
from .models import Experience, Experiences, Identity
from .own_paths import Reply
from .pages import Page
from .personalizer import Personalizer
from .runtime import runtime_for
from .settings import Settings
from .sources import ValueSource
from .visits import Visit

try:
    from asgiref.sync import (
        async_to_sync,
        iscoroutinefunction,
        markcoroutinefunction,
        sync_to_async,
    )
    from django.conf import settings as project  # type: ignore[import-untyped]
    from django.contrib.auth.signals import (  # type: ignore[import-untyped]
        user_logged_in,
        user_logged_out,
    )
    from django.core.exceptions import (  # type: ignore[import-untyped]
        ImproperlyConfigured,
    )
    from django.http import HttpResponse  # type: ignore[import-untyped]
except ImportError as error:
    raise ImportError(
        "moe_middleware.django needs Django: pip install django"
    ) from error

T = TypeVar("T")

KEY = "moe_middleware"


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

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response
        self.runtime = runtime_for(_settings())
        sources = [source for _, source in self.runtime.settings.sources()]
        _check_order(type(self), {source.kind for source in sources})
        self._lazy = [source for source in sources if source.is_lazy]
        user_logged_in.connect(_user_changed, dispatch_uid=KEY)
        user_logged_out.connect(_user_changed, dispatch_uid=KEY)
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        if self._is_async:
            return self._answer(request)
        page = self._page(request, self.runtime.start_in_background())
        if self.runtime.own_paths.answers(request.path_info):
            page.read_ahead()
            page.end()
            return _response(background.run(self._reply(request)))
        token = current.set(page.experiences)
        try:
            if page.find_routes(request.method, request.path_info or "/"):
                page.read_ahead()
                page.prefetch_from_cache() or background.run(page.prefetch())
            response = self.get_response(request)
            _send_off(page, request, response)
            if page.forgetting is not None:
                page.forgetting.result()
        except BaseException:
            page.end()
            raise
        finally:
            current.reset(token)
        return response

    async def _answer(self, request: Any) -> Any:
        page = self._page(request, self.runtime.start())
        if self.runtime.own_paths.answers(request.path_info):
            await page.read_ahead_in_thread()
            page.end()
            return _response(await self._reply(request))
        token = current.set(page.experiences)
        try:
            if self.runtime.personalizer.logins.reads_session:
                await page.read_ahead_in_thread()
            if page.find_routes(request.method, request.path_info or "/"):
                await page.read_ahead_in_thread()
                await page.prefetch()
            response = await self.get_response(request)
            await page.read_consent_in_thread()
            _send_off(page, request, response)
            if page.forgetting is not None:
                await asyncio.wrap_future(page.forgetting)
        except BaseException:
            page.end()
            raise
        finally:
            current.reset(token)
        return response

    def _page(self, request: Any, loop: asyncio.AbstractEventLoop) -> _Page:
        if KEY in _holder(request):
            raise DuplicateMiddlewareError(_TWICE)
        engine = self.runtime.personalizer
        page = _Page(engine, request, self.visit_of, loop, self._lazy)
        _holder(request)[KEY] = page
        request.experiences = page.experiences
        return page

    async def _reply(self, request: Any) -> Reply:
        """Answer for one of our own paths."""
        own_paths = self.runtime.own_paths
        most = own_paths.max_body(request.path_info)
        body = await sync_to_async(request.read)(most + 1) if most else b""
        return await own_paths.reply(self.visit_of(request), body)

    def visit_of(self, request: Any) -> Visit:
        """Return what a request tells."""
        scope = getattr(request, "scope", None)
        if scope is not None:
            headers, query_string = scope["headers"], scope.get("query_string", b"")
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
            session = _Session(request)
        return Visit(
            method=request.method,
            path=request.path_info or "/",
            root_path=request.META.get("SCRIPT_NAME", ""),
            headers=headers,
            query_string=query_string,
            scheme=request.scheme,
            peer=request.META.get("REMOTE_ADDR") or None,
            session=session,
            user=getattr(request, "user", None),
        )


_TWICE = (
    "MoEngageMiddleware met a request that it has already personalized: MIDDLEWARE "
    "lists it twice, or one of our middlewares also wraps the app in wsgi.py or "
    "asgi.py. Keep the one in MIDDLEWARE."
)


def lifespan(application: ASGIApp) -> ASGIApp:
    """Return an ASGI application that lives as long as its server, for ``asgi.py``.

    Django itself is never told when a server starts or stops. With this we connect
    before the first page and deliver what waits after the last, as WSGI servers let us
    do anyway::

        application = lifespan(get_asgi_application())
    """
    return _Lifespan(application, config=_settings())


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


def _settings() -> Settings:
    """Return the project's settings: the same object for the same configuration.

    Each of Django's test clients makes a middleware of its own; they share one cache.
    """
    given = getattr(project, "MOENGAGE", None)
    if isinstance(given, Settings):
        name = str(id(given))
        loaded = given
    else:
        loaded = _loaded(given)
        keys = [key.get_secret_value() for key in loaded.workspace.keys]
        name = f"{loaded.model_dump_json()}{keys}"
    if loaded.identity.customer_id is None:
        identity = loaded.identity.model_copy(update={"customer_id": SIGNED_IN})
        loaded = loaded.model_copy(update={"identity": identity})
    return _known.setdefault(name, (given, loaded))[1]


def _loaded(given: object) -> Settings:
    if isinstance(given, Mapping):
        return Settings.from_env(**given)
    if given is None or isinstance(given, (str, os.PathLike)):
        return Settings.load(given)
    raise ImproperlyConfigured(
        f"MOENGAGE is {type(given).__name__}: set it to the path of a settings file, a "
        "mapping of what stands in one, or a moe_middleware.Settings"
    )


def _response(reply: Reply) -> Any:
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


# --- the page ----------------------------------------------------------------


class _Experiences(Experiences):
    """Those of a Django page: who reads them keeps the page out of Django's caches.

    ``cache_page`` keeps a response before any middleware has seen its headers.
    """

    __slots__ = ()

    def __getitem__(self, key: str) -> Experience:
        self._keep_private()
        return super().__getitem__(key)

    def __iter__(self) -> Iterator[str]:
        self._keep_private()
        return super().__iter__()

    def _keep_private(self) -> None:
        if isinstance(self._answering, _Page):
            self._answering.keep_private()


class _Page(Page):
    """A page whose user and session may be in a database.

    That is asked only where Django lets it be asked: never on an event loop.
    """

    __slots__ = ("_lazy", "_read")

    def __init__(
        self,
        engine: Personalizer,
        request: Any,
        visit_of: Callable[[Any], Visit],
        loop: asyncio.AbstractEventLoop,
        lazy: Sequence[ValueSource],
    ) -> None:
        super().__init__(engine, request, visit_of, loop)
        self.experiences = _Experiences(answering=self)
        self._lazy = lazy
        self._read = False

    def keep_private(self) -> None:
        """Let Django's own page caches pass this response by."""
        if self._request is not None:
            self._request._cache_update_cache = False

    def read_ahead(self) -> None:
        """Read what the sources will ask of the user and the session."""
        if self._read:
            return
        self._read = True
        try:
            for source in self._lazy:
                if source.kind != "session":
                    getattr(self.visit.user, "is_authenticated", None)
                if source.kind != "user" and self.visit.session is not None:
                    self.visit.session.get("")
                if source.kind == "user" and "." in source.name:
                    # As in profile.plan: the row of another table, which stays read.
                    source.read(self.visit, {})
        except Exception as error:
            self._failed("visitor_unread", error)

    async def read_ahead_in_thread(self) -> None:
        """Do what ``read_ahead`` does, from an event loop."""
        if not self._read and self._lazy:
            await sync_to_async(self.read_ahead)()

    async def read_consent_in_thread(self) -> None:
        """Read what tells whether our cookies must go, where no route has asked it."""
        engine = self._engine
        if engine.visitors.consents is None or self._visitor is not None:
            return
        ours = (engine.settings.identity.anonymous_cookie, DEVICE_COOKIE)
        if any(self.visit.cookie(name) is not None for name in ours):
            await self.read_ahead_in_thread()

    async def fetch(self, key: str) -> Experience:
        await self.read_ahead_in_thread()
        return await super().fetch(key)

    def block_on(self, steps: Coroutine[Any, Any, T]) -> T:
        if on_event_loop():
            return super().block_on(steps)
        self.read_ahead()
        if background.is_running and self._loop is background.loop:
            return super().block_on(steps)
        # While this thread waits it does what is asked of Django's sync thread.
        result: T = async_to_sync(_awaited)(steps)
        return result

    def forget_user(self, user: object) -> None:
        """Drop what is kept for a customer who signs in or out with this response."""
        try:
            source = self._engine.settings.identity.customer_id
            if source is None or source.kind != "user":
                return
            customer = self._engine.logins.before(Visit(user=user))
            for one in {customer, self.experiences.identity.customer_id}:
                if one is not None:
                    self._forget(visitor_key(Identity(customer_id=one)))
        except Exception as error:
            self._failed("forget_failed", error)

    def end(self) -> None:
        if self._request is not None:
            _holder(self._request).pop(KEY, None)
        super().end()


async def _awaited(steps: Coroutine[Any, Any, T]) -> T:
    return await steps


def _holder(request: Any) -> MutableMapping[str, Any]:
    """Return where our doors leave their mark on a request, whichever they are."""
    scope = getattr(request, "scope", None)
    holder: MutableMapping[str, Any] = request.META if scope is None else scope
    return holder


def _user_changed(sender: object, request: Any, user: object, **_: object) -> None:
    page = _holder(request).get(KEY) if request is not None else None
    if isinstance(page, _Page):
        page.forget_user(user)


class _Session(Mapping[str, Any]):
    """Django's session, read without Django taking that for the view's reading."""

    def __init__(self, request: Any) -> None:
        self._request = request

    def __getitem__(self, key: str) -> Any:
        return self._reading(lambda session: session[key])

    def __iter__(self) -> Iterator[str]:
        return self._reading(lambda session: iter([*session.keys()]))

    def __len__(self) -> int:
        return self._reading(lambda session: len(session.keys()))

    def _reading(self, read: Callable[[Any], T]) -> T:
        session = self._request.session
        accessed = getattr(session, "accessed", True)
        try:
            return read(session)
        finally:
            # Else it would add Vary: Cookie, also where nothing of ours is shown.
            session.accessed = accessed


# --- the response ------------------------------------------------------------


def _send_off(page: _Page, request: Any, response: Any) -> None:
    """Add our headers to a response, and see to it that its end is noticed."""
    _add_headers(page, response)
    ending = _Ending(page, response)
    if response.streaming and getattr(response, "file_to_stream", None) is None:
        # A file goes to the server as it is, which may send it by itself.
        ending.complete = False
        watched = _watched_async if response.is_async else _watched
        parts = response.streaming_content
        response.streaming_content = watched(parts, page.experiences, ending)
    response._resource_closers.append(ending)
    if "HTTP_IF_NONE_MATCH" in request.META or "HTTP_IF_MODIFIED_SINCE" in request.META:
        _notice_not_modified(request, ending)


def _add_headers(page: _Page, response: Any) -> None:
    given = [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in response.items()
    ]
    for morsel in response.cookies.values():
        given.append((b"set-cookie", morsel.OutputString().encode("latin-1")))
    if not response.streaming:
        # Django adds it later on; until then it would look like a stream.
        given.append((b"content-length", b""))
    wanted = page.response_headers(given)
    if wanted is given:
        return
    for name, value in wanted:
        if (name, value) in given:
            continue
        title, text = name.decode("latin-1").title(), value.decode("latin-1")
        if name == b"set-cookie":
            response.cookies.load(text)
        elif name == b"server-timing" and title in response.headers:
            response.headers[title] += f", {text}"
        else:
            response.headers[title] = text


class _Ending:
    """Counts what was shown once the server has closed the response.

    Attributes:
        complete: Whether the whole body was handed over.
    """

    __slots__ = ("_page", "_response", "complete")

    def __init__(self, page: _Page, response: Any) -> None:
        self._page: _Page | None = page
        self._response = response
        self.complete = True

    def __call__(self) -> None:
        page, self._page = self._page, None
        if page is None:
            return
        status = self._response.status_code
        # Of these the server may take no body at all.
        if self.complete or status in (204, 304):
            page.record(status)
        page.end()


def _notice_not_modified(request: Any, ending: _Ending) -> None:
    """See the end of a response whose place a 304 takes.

    Django's ConditionalGetMiddleware makes a new response, and ours is never closed;
    the request still is.
    """
    close = request.close

    def closed() -> None:
        ending()
        close()

    request.close = closed


def _watched(
    parts: Iterator[bytes], experiences: Experiences, ending: _Ending
) -> Iterator[bytes]:
    """Yield a body's parts, each made within the request that they are for."""
    while True:
        token = current.set(experiences)
        try:
            part = next(parts)
        except StopIteration:
            break
        finally:
            current.reset(token)
        yield part
    ending.complete = True


async def _watched_async(
    parts: AsyncIterator[bytes], experiences: Experiences, ending: _Ending
) -> AsyncIterator[bytes]:
    while True:
        token = current.set(experiences)
        try:
            part = await anext(parts)
        except StopAsyncIteration:
            break
        finally:
            current.reset(token)
        yield part
    ending.complete = True
