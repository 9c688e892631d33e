"""The ASGI door: wraps any ASGI app, and changes nothing but what it adds."""

from __future__ import annotations

import asyncio
import os

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .current import current
from .errors import DuplicateMiddlewareError
from .pages import Page
from .routes import route_path
from .runtime import runtime_for
from .settings import Settings
from .visits import Visit

KEY = "moe_middleware"


class MoEngageMiddleware:
    """Prefetches a route's experiences, attaches them, and counts what was shown.

    The app finds them as ``request.state.experiences`` on every request.

    Args:
        app: The ASGI app to wrap.
        config: A settings file's path or a ``Settings``; by default the file that
            ``MOE_CONFIG`` names, else ``moe.yml``.
        workspace_id, api_key, data_center, base_url: Win over the environment and
            the file.

    Raises:
        SettingsError: The configuration is wrong; it lists every mistake.
    """

    def __init__(
        self,
        app: ASGIApp,
        config: str | os.PathLike[str] | Settings | None = None,
        *,
        workspace_id: str | None = None,
        api_key: str | None = None,
        data_center: str | None = None,
        base_url: str | None = None,
    ) -> None:
        self.app = app
        self.runtime = runtime_for(
            config,
            workspace_id=workspace_id,
            api_key=api_key,
            data_center=data_center,
            base_url=base_url,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _Lifespan(self, receive, send).run(scope)
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if KEY in scope:
            raise DuplicateMiddlewareError(_TWICE)
        loop = self.runtime.start()
        page = Page(self.runtime.personalizer, scope, _visit, loop)
        scope[KEY] = page
        scope.setdefault("state", {})["experiences"] = page.experiences
        token = current.set(page.experiences)
        try:
            path = route_path(scope["path"], scope.get("root_path", ""))
            if page.find_routes(scope["method"], path):
                await page.prefetch()
            responder = _Responder(page, receive, send)
            await self.app(scope, responder.receive, responder.send)
        finally:
            current.reset(token)
            page.end()


_TWICE = (
    "MoEngageMiddleware met a request that it has already personalized: it is "
    "installed twice around this handler.\n"
    "Most likely it wraps the app and is also in the app's middleware list, or it "
    "wraps both an app and a sub-app mounted in it.\n"
    "Keep the outermost one: its routes match the whole path, those of mounted apps "
    "included."
)


class _Responder:
    """Watches one response go out: its start, its last byte, and a visitor who left."""

    __slots__ = ("_done", "_page", "_receive", "_send", "_status")

    def __init__(self, page: Page, receive: Receive, send: Send) -> None:
        self._page = page
        self._receive = receive
        self._send = send
        self._status = 0
        self._done = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            # Left before the last byte: what follows is sent to nobody.
            self._done = True
        return message

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            self._status = message["status"]
            headers = list(message.get("headers", ()))
            message["headers"] = self._page.response_headers(headers)
            if self._page.forgetting is not None:
                await asyncio.wrap_future(self._page.forgetting)
        await self._send(message)
        if kind in _BODIES and not self._done and not message.get("more_body", False):
            self._done = True
            self._page.record(self._status)


# A server that sends files by itself gets the whole body in one pathsend.
_BODIES = ("http.response.body", "http.response.pathsend")


class _Lifespan:
    """Opens before the app starts and closes after it ends, even for a deaf app."""

    def __init__(
        self, middleware: MoEngageMiddleware, receive: Receive, send: Send
    ) -> None:
        self._app = middleware.app
        self._runtime = middleware.runtime
        self._receive = receive
        self._send = send
        self._app_speaks = False

    async def run(self, scope: Scope) -> None:
        try:
            await self._app(scope, self.receive, self.send)
        except Exception:
            if self._app_speaks:
                await self._runtime.stop()
                raise
        if not self._app_speaks:
            await self._speak()

    async def receive(self) -> Message:
        self._app_speaks = True
        message = await self._receive()
        if message["type"] == "lifespan.startup":
            self._runtime.start()
        return message

    async def send(self, message: Message) -> None:
        self._app_speaks = True
        if message["type"] not in ("lifespan.startup.complete",):
            await self._runtime.stop()
        await self._send(message)

    async def _speak(self) -> None:
        """Answer for an app that has no lifespan of its own."""
        await self.receive()
        await self._send({"type": "lifespan.startup.complete"})
        await self._receive()
        await self._runtime.stop()
        await self._send({"type": "lifespan.shutdown.complete"})


def _visit(scope: Scope) -> Visit:
    client = scope.get("client")
    return Visit(
        method=scope["method"],
        path=route_path(scope["path"], scope.get("root_path", "")),
        headers=scope["headers"],
        query_string=scope.get("query_string", b""),
        scheme=scope.get("scheme", "http"),
        peer=client[0] if client else None,
        session=scope.get("session"),
        user=scope.get("user"),
    )
