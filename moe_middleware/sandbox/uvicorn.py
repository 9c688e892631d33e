"""The sandbox under uvicorn, whose connections it can cut."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
import time
from collections.abc import Awaitable, Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from .workspace.faults import HANG_UP

LAST_SECONDS = 1
"""Seconds that a stop waits for open responses: a live page's never ends."""


def run(app: ASGIApp, listener: socket.socket, log_level: str) -> None:
    """Serve until the process is signalled to stop."""
    # uvicorn raises its stopping signal again when it is done, and SIGTERM would end
    # the process at once.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        _server(app, log_level).run(sockets=[listener])
    signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def running(app: ASGIApp, listener: socket.socket) -> Iterator[None]:
    """Serve from a thread until the block ends; then the thread has ended, too."""
    server = _server(app, "warning")
    thread = threading.Thread(
        target=server.run, args=([listener],), name="moe-sandbox", daemon=True
    )
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.001)
        yield
    finally:
        server.should_exit = True
        thread.join()


def _server(app: ASGIApp, log_level: str) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        http=_cuttable(AutoHTTPProtocol),
        ws="none",
        log_level=log_level,
        access_log=log_level in ("info", "debug", "trace"),
        server_header=False,
        timeout_graceful_shutdown=LAST_SECONDS,
        # Without this layer each call is faster; a sandbox has no proxy.
        proxy_headers=False,
    )
    return uvicorn.Server(config)


def _cuttable(protocol: Any) -> type[asyncio.Protocol]:
    class CuttableProtocol(protocol):  # type: ignore[misc]
        """Lets the app cut a request's connection, by an ASGI extension."""

        app: ASGIApp

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self.app = _with_hang_up(self.app, transport)

    return CuttableProtocol


def _with_hang_up(app: ASGIApp, transport: asyncio.Transport) -> ASGIApp:
    def cuttable(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        scope.setdefault("extensions", {})[HANG_UP] = transport.abort
        return app(scope, receive, send)

    return cuttable
