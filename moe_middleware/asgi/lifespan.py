"""The ASGI lifespan of an app, with our startup and shutdown around it."""

from __future__ import annotations

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..personalizer.runtime import Runtime

logger = logging.getLogger(__name__)


async def run_lifespan(
    app: ASGIApp, runtime: Runtime, scope: Scope, receive: Receive, send: Send
) -> None:
    """Run startup and shutdown around the app's lifespan, also where it has none."""
    startup: Message | None = await receive()
    takes_part = False
    try:
        runtime.start()
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        await send({"type": "lifespan.startup.failed", "message": text})
        raise

    async def receive_for_app() -> Message:
        nonlocal startup, takes_part
        takes_part = True
        if startup is not None:
            message, startup = startup, None
            return message
        return await receive()

    async def send_of_app(message: Message) -> None:
        nonlocal takes_part
        takes_part = True
        # After its shutdown, and after a startup that failed.
        if message["type"] != "lifespan.startup.complete":
            await runtime.stop()
        await send(message)

    try:
        await app(scope, receive_for_app, send_of_app)
    except BaseException as error:
        # An app without a lifespan raises before it takes a message.
        if takes_part or not _has_no_lifespan(error):
            await runtime.stop()
            raise
        kind = type(error).__name__
        logger.info("lifespan_unsupported error=%s: %s", kind, _UNSUPPORTED)
    if not takes_part:
        # The server gets its answers from us.
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await runtime.stop()
        await send({"type": "lifespan.shutdown.complete"})


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
