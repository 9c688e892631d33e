"""The Quart door: the ASGI door, the tag in templates, and Quart's session."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from typing import Any, ParamSpec, Self, TypeVar

try:
    import quart
    from quart.sessions import SecureCookieSessionInterface
    from werkzeug.datastructures import Headers
except ImportError as error:
    raise ImportError("moe_middleware.quart needs Quart: pip install quart") from error

from starlette.types import Receive, Scope, Send

from .asgi import MoEngageMiddleware
from .asgi.page import ASGIPage
from .jinja.app_extensions import AppExtension
from .models.cookies import werkzeug_cookies
from .models.experience import EMPTY
from .models.visits import LazySession, Visit
from .personalizer.current import KEY
from .personalizer.postponed_pages import PostponedPage, lacking
from .settings.settings import Config

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)

SESSION = "moe_middleware.session"


class MoEngage(AppExtension[quart.Quart]):
    """Personalizes a Quart app.

    Sources of the kind ``session`` read the app's session, without writing it. It is
    read in the app's own request, after its ``before_request`` functions and before the
    handler. The same holds for functions in the settings (``call``): they can use
    ``quart.request`` and ``quart.g``. A ``before_request`` function that needs an
    experience awaits ``experiences.ready()`` first.

    Args:
        app: The app; None for an app factory, which calls ``init_app``.
        config: A settings file's path, a mapping like a file's content, or a
            ``Settings``; by default the file that ``MOE_CONFIG`` names, else
            ``moe.yml``.
    """

    def _wrap(self, app: quart.Quart, config: Config) -> object:
        door = _Door(app, config)
        app.asgi_app = door  # type: ignore[method-assign, assignment]
        return door


class _Door(MoEngageMiddleware):
    """The ASGI door with a reference to the app that it wraps."""

    def __init__(self, app: quart.Quart, config: Config) -> None:
        super().__init__(app.asgi_app, config)  # type: ignore[arg-type]
        self._quart = app
        sources = [source for _, source in self.runtime.settings.sources()]
        self._reads_session = any(source.kind == "session" for source in sources)
        if any(source.is_lazy for source in sources):
            self.page_class = _Page
            quart.request_started.connect(_begin, app)
            dispatch = _after_prefetch(app.dispatch_request)
            app.dispatch_request = dispatch  # type: ignore[method-assign, assignment]
        if self._reads_session:
            # A login or logout is in the session only after the handler.
            app.after_request(_note_session)

    async def _answer(
        self, path: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if self._reads_session:
            scope[SESSION] = await self._session(scope)
        await super()._answer(path, scope, receive, send)

    def visit_of(self, scope: Scope) -> Visit:
        visit = super().visit_of(scope)
        visit.session = _Session(scope)
        absent = _NO_USER
        visit.absent = lacking(self._quart, SecureCookieSessionInterface, absent)
        # Quart reads them by werkzeug, other ASGI frameworks as Starlette does.
        visit.read_cookies = werkzeug_cookies
        return visit

    async def _session(self, scope: Scope) -> dict[str, Any]:
        """Return the session of a request that never reaches the app.

        It is a copy, which is never saved.
        """
        interface = self._quart.session_interface
        # Sessions in signed cookies need no app context; those in a database may.
        by_cookie = isinstance(interface, SecureCookieSessionInterface)
        context = nullcontext() if by_cookie else self._quart.app_context()
        session: dict[str, Any] = {}
        try:
            async with context:
                request = self._request(scope)
                found = await interface.open_session(self._quart, request)
                session.update(found or {})
        except Exception as error:
            # The error's text may contain values of the session; its class cannot.
            logger.warning("session_failed error=%s", type(error).__name__)
        return session

    def _request(self, scope: Scope) -> quart.Request:
        headers = Headers(
            [(n.decode("latin-1"), v.decode("latin-1")) for n, v in scope["headers"]]
        )
        return self._quart.request_class(
            scope["method"],
            scope["scheme"],
            scope["path"],
            scope["query_string"],
            headers,
            scope.get("root_path", ""),
            scope["http_version"],
            send_push_promise=_push_nothing,
            scope=scope,  # type: ignore[arg-type]
        )


_NO_USER = {
    "user": "Quart has no user that we know: take the value from the session or a call"
}


async def _push_nothing(path: str, headers: Headers) -> None:
    """A stand-in for the server's push, which is not needed to read a session."""


class _Page(PostponedPage, ASGIPage):
    """A page that is prefetched where a task first waits for its experiences."""

    async def prefetch_now(self) -> None:
        """Fetch the experiences of the routes, if not done yet."""
        self.begin()
        if self.waits:
            self.waits = False
            if not self.answer_at_once():
                await self.prefetch()

    async def ready(self) -> Self:
        await self.prefetch_now()
        return await super().ready()


class _Session(LazySession):
    """The request's session: the app's own, or its last noted copy."""

    def __init__(self, scope: Scope) -> None:
        self.noted: Mapping[str, Any] = scope.get(SESSION, EMPTY)

    def reading(self, read: Callable[[Mapping[str, Any]], T]) -> T:
        if quart.has_request_context():
            page = _page_here()
            if page is not None and page.is_underway:
                return read(_copied())
        return read(self.noted)


def _copied() -> dict[str, Any]:
    """Copy the app's session without Quart taking that for a use by the handler."""
    session = quart.session
    accessed = getattr(session, "accessed", True)
    try:
        return dict(session or {})
    finally:
        session.accessed = accessed


async def _note_session(response: quart.Response) -> quart.Response:
    """Note the session after the handler, for logins and logouts."""
    page = _page_here()
    session = page.visit.session if page is not None else None
    if isinstance(session, _Session):
        session.noted = _copied()
    return response


def _page_here() -> _Page | None:
    page = quart.request.scope.get(KEY)
    return page if isinstance(page, _Page) else None


async def _begin(_: quart.Quart, **__: object) -> None:
    page = _page_here()
    if page is not None:
        page.begin()


def _after_prefetch(
    dispatch: Callable[P, Awaitable[T]],
) -> Callable[P, Awaitable[T]]:
    """Return a dispatcher that prefetches before it calls the view."""

    async def dispatch_request(*given: P.args, **named: P.kwargs) -> T:
        page = _page_here()
        if page is not None:
            await page.prefetch_now()
        return await dispatch(*given, **named)

    return dispatch_request
