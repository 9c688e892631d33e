"""The ASGI door: wraps any ASGI app, and only adds to it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from threading import get_ident
from types import FrameType
from typing import Unpack
from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Receive, Scope, Send

from ..browser.html_endings import wanted_headers
from ..models.cookies import asgi_cookies
from ..models.errors import DuplicateMiddlewareError, SettingsError
from ..models.experiences import SENT
from ..models.texts import Headers, decoded
from ..models.visits import Visit
from ..personalizer.current import KEY, enter, leave, on_event_loop
from ..personalizer.open_runtimes import WorkspaceKeywords, open_door, shows_keywords
from ..personalizer.runtime import Runtime
from ..routes.routes import route_path
from ..settings.settings import Config
from ..wrapped_apps import check_wrapped
from .lifespan import run_lifespan
from .page import OVER, ASGIPage
from .state import EXPERIENCES, State, mapping_of
from .visit import ASGIVisit

__all__ = ["EXPERIENCES", "MoEngageMiddleware"]


class MoEngageMiddleware:
    """Prefetches a route's experiences, attaches them, and counts what was shown.

    The app finds them as ``request.state.experiences`` on every request, and anywhere
    by ``current_experiences()``. Websockets pass by untouched.

    Args:
        app: The ASGI app to wrap.
        config: A settings file's path, a mapping like a file's content, or a
            ``Settings``; by default the file that ``MOE_CONFIG`` names, else
            ``moe.yml``.
        workspace: ``workspace_id``, ``api_key``, ``data_center`` and ``base_url``
            override the environment and the file.

    Raises:
        SettingsError: The configuration is wrong; it lists every mistake.
        TypeError: The app is of another kind.
    """

    page_class = ASGIPage
    """The class of a request's page."""

    runtime: Runtime

    @shows_keywords
    def __init__(
        self,
        app: ASGIApp,
        config: Config = None,
        **workspace: Unpack[WorkspaceKeywords],
    ) -> None:
        check_wrapped(app, "ASGI")
        self.app = app
        self._settings_error: SettingsError | None = None
        try:
            open_door(self, config, **workspace)
        except SettingsError as error:
            # Starlette builds its middlewares at the first call: for the lifespan.
            if not _is_built_within_lifespan(sys._getframe(1)):
                raise
            # Most servers go on if the lifespan raises, and then every page would fail.
            # They stop if it answers that the startup failed.
            self._settings_error = error
            return
        kinds = {source.kind for _, source in self.runtime.settings.sources()}
        self._read_cookies = asgi_cookies(app)
        self._needed = [kind for kind in _OUTSIDE if kind in kinds]
        self._own_prefix = self.runtime.own_paths.prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            app = self._lifespan if scope["type"] == "lifespan" else self.app
            await app(scope, receive, send)
            return
        if self._settings_error is not None:
            raise self._settings_error
        runtime = self.runtime
        last_loop, thread = runtime.last
        loop = last_loop()
        if loop is None or thread != get_ident() or not loop.is_running():
            loop = self._start()
        # Most paths are taken as they are, without a call.
        path = scope["path"]
        if not path or _UNREADABLE in path or scope.get("root_path"):
            path = _path_of(scope)
        # Looking for a piece of text spares most pages the call.
        if self._own_prefix in path and runtime.own_paths.answers(path):
            await self._answer(path, scope, receive, send)
            return
        earlier = scope.get(KEY)
        if earlier is not None:
            if earlier.is_underway:
                raise DuplicateMiddlewareError(_TWICE)
            if not earlier.ended:
                # A second attempt while the first runs gets a scope of its own.
                scope = {**scope}
        headers = scope.get("headers", ())
        if type(headers) is not list:
            headers = _readable(scope)
        # Copies, as inner layers change their scope in place.
        request = dict(scope)
        request["headers"], request["path"] = [*headers], path
        page = self.page_class(runtime.personalizer, request, self.visit_of, loop)
        page.server = receive, send
        outer = scope.get("state")
        if type(outer) is not dict:
            outer = mapping_of(outer)
        scope[KEY] = page
        scope["state"] = state = State(outer, experiences=page)
        state.outer = outer
        token = enter(page)
        try:
            if page.find_routes(scope["method"], path) and not page.answer_at_once():
                await page.prefetch()
            # An ending is added to whole pages, and to none that is compressed.
            if page.has_ending:
                scope["headers"] = wanted_headers(scope.get("headers", ()))
            app = self.app
            await app(scope, page.receive, page.send)
        finally:
            scope.pop(KEY, None)
            page.server = OVER
            if page.used:
                page.end()
            else:
                # The same without its call, for most requests.
                page.ended, page.phase = True, SENT
            leave(token)

    def _start(self) -> asyncio.AbstractEventLoop:
        """Start on the running event loop, and return it."""
        try:
            return self.runtime.start()
        except RuntimeError as error:
            raise error if on_event_loop() else RuntimeError(_NO_ASYNCIO) from error

    def visit_of(self, scope: Scope) -> Visit:
        """Return a request as a visit.

        Args:
            scope: Its scope, with the path within the wrapped app.
        """
        visit = ASGIVisit(scope, self._read_cookies)
        if self._needed:
            missing = [kind for kind in self._needed if kind not in scope]
            visit.absent = {kind: _OUTSIDE[kind] for kind in missing}
        return visit

    async def _answer(
        self, path: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer a request to one of our endpoints."""
        own_paths = self.runtime.own_paths
        body = await _read(receive, own_paths.max_body(path))
        request = {**scope, "headers": _readable(scope), "path": path}
        reply = await own_paths.reply(self.visit_of(request), body)
        start = {"type": "http.response.start", "status": reply.status}
        await send({**start, "headers": reply.headers})
        sent = b"" if scope["method"] == "HEAD" else reply.body
        await send({"type": "http.response.body", "body": sent})

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        error: Exception | None = self._settings_error
        if error is None and not on_event_loop():
            error = RuntimeError(_NO_ASYNCIO)
        if error is None:
            await run_lifespan(self.app, self.runtime, scope, receive, send)
            return
        await receive()
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        raise error


def _is_built_within_lifespan(builder: FrameType | None) -> bool:
    """Whether a framework builds its middlewares only now, in its first ASGI call.

    Args:
        builder: The frame that makes the middleware.
    """
    while builder is not None:
        scope = builder.f_locals.get("scope")
        if isinstance(scope, Mapping) and scope.get("type") == "lifespan":
            return True
        builder = builder.f_back
    return False


_ORDER = (
    "there is no {kind} yet when MoEngageMiddleware runs: {middleware} is missing, or "
    "inside of it, and has to be outside. With app.add_middleware add it after "
    "MoEngageMiddleware, as the one added last is the outermost; in a list of "
    "middleware=[...] put it before"
)

_OUTSIDE = {
    "session": _ORDER.format(kind="session", middleware="SessionMiddleware"),
    "user": _ORDER.format(kind="user", middleware="AuthenticationMiddleware"),
}
"""Advice for requests without the value that a kind of source reads."""


def _readable(scope: Scope) -> Headers:
    """Return a request's headers; an iterator of them becomes a list in the scope."""
    headers = scope.get("headers", ())
    if not isinstance(headers, list | tuple):
        headers = scope["headers"] = [tuple(pair) for pair in headers]
    return [*headers]


_TWICE = (
    "MoEngageMiddleware met a request that it has already personalized: it is "
    "installed twice around this handler.\n"
    "Most likely it wraps the app and is also in the app's middleware list, or it "
    "wraps both an app and a sub-app mounted in it.\n"
    "Keep the outermost one: its routes match the whole path, those of mounted apps "
    "included."
)

_NO_ASYNCIO = (
    "moe_middleware needs asyncio, and this server runs another event loop: run "
    "hypercorn without --worker-class trio"
)


def _path_of(scope: Scope) -> str:
    """Return the path within the wrapped app."""
    path: str = scope["path"]
    if _UNREADABLE in path:
        # Servers put it in place of each byte that is not UTF-8, which would make two
        # ids one.
        raw = unquote_to_bytes(scope.get("raw_path") or b"")
        path = decoded(raw) if raw.decode(errors="replace") == path else path
    root_path = scope.get("root_path")
    return route_path(path, root_path) if root_path else path or "/"


_UNREADABLE = "\ufffd"


async def _read(receive: Receive, max_size: int) -> bytes:
    """Return a request's body, or the first ``max_size + 1`` bytes of a longer one."""
    body, more = b"", max_size > 0
    while more and len(body) <= max_size:
        message = await receive()
        body += message.get("body", b"")
        more = message["type"] == "http.request" and message.get("more_body", False)
    return body[: max_size + 1]
