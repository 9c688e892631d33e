"""The lifespan of an app, with ours around it."""

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
        self._app_speaks = False

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
            if self._app_speaks or not _has_no_lifespan(error):
                await self._runtime.stop()
                raise
            kind = type(error).__name__
            logger.info("lifespan_unsupported error=%s: %s", kind, _DEAF)
        if not self._app_speaks:
            await self._speak()

    async def receive(self) -> Message:
        self._app_speaks = True
        if self._startup is not None:
            message, self._startup = self._startup, None
            return message
        return await self._receive()

    async def send(self, message: Message) -> None:
        self._app_speaks = True
        if message["type"] != "lifespan.startup.complete":
            await self._runtime.stop()
        await self._send(message)

    async def _speak(self) -> None:
        """Answer for an app that has no lifespan of its own."""
        await self._send({"type": "lifespan.startup.complete"})
        await self._receive()
        await self._runtime.stop()
        await self._send({"type": "lifespan.shutdown.complete"})


_DEAF = "the app takes no lifespan, so we answer the server's in its place"


def _has_no_lifespan(error: BaseException) -> bool:
    """Whether an error refuses the lifespan, and is none of a broken app.

    The standard's way to do so is to raise, whatever it is. Apps that look for a
    request raise the first two kinds and miss a key of its scope; frameworks name what
    they do not take.
    """
    if isinstance(error, AssertionError | NotImplementedError):
        return True
    if isinstance(error, KeyError):
        return bool(error.args) and error.args[0] in _OF_A_REQUEST
    return isinstance(error, Exception) and "lifespan" in str(error)


_OF_A_REQUEST = ("method", "path", "raw_path", "root_path", "query_string", "headers")
