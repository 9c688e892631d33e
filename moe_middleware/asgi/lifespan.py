"""The ASGI lifespan of an app, with our startup and shutdown around it."""

from __future__ import annotations

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..personalizer.runtime import Runtime

logger = logging.getLogger(__name__)


class Lifespan:
    """Runs startup and shutdown around the app's lifespan, also where it has none."""

    def __init__(
        self, app: ASGIApp, runtime: Runtime, receive: Receive, send: Send
    ) -> None:
        self._app = app
        self._runtime = runtime
        self._receive = receive
        self._send = send
        self._startup: Message | None = None
        self._app_takes_part = False

    async def run(self, scope: Scope) -> None:
        self._startup = await self._receive()
        try:
            self._runtime.start()
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            await self._send({"type": "lifespan.startup.failed", "message": text})
            raise
        try:
            await self._app(scope, self.receive, self.send)
        except BaseException as error:
            if self._app_takes_part or not _has_no_lifespan(error):
                await self._runtime.stop()
                raise
            kind = type(error).__name__
            logger.info("lifespan_unsupported error=%s: %s", kind, _UNSUPPORTED)
        if not self._app_takes_part:
            await self._answer_for_app()

    async def receive(self) -> Message:
        self._app_takes_part = True
        if self._startup is not None:
            message, self._startup = self._startup, None
            return message
        return await self._receive()

    async def send(self, message: Message) -> None:
        self._app_takes_part = True
        if message["type"] != "lifespan.startup.complete":
            await self._runtime.stop()
        await self._send(message)

    async def _answer_for_app(self) -> None:
        """Answer the server for an app without a lifespan."""
        await self._send({"type": "lifespan.startup.complete"})
        await self._receive()
        await self._runtime.stop()
        await self._send({"type": "lifespan.shutdown.complete"})


_UNSUPPORTED = "the app has no lifespan, so the middleware answers the server"


def _has_no_lifespan(error: BaseException) -> bool:
    """Whether an error means that the app has no lifespan, not that it failed.

    By the ASGI specification such an app raises any exception. Apps that expect a
    request raise one of the first two kinds, or a KeyError for a key of its scope;
    frameworks name the scope's type in the message.
    """
    if isinstance(error, AssertionError | NotImplementedError):
        return True
    if isinstance(error, KeyError):
        return bool(error.args) and error.args[0] in _REQUEST_KEYS
    return isinstance(error, Exception) and "lifespan" in str(error)


_REQUEST_KEYS = ("method", "path", "raw_path", "root_path", "query_string", "headers")
