"""The sandbox inside the process: no network, no server."""

from __future__ import annotations

import threading

import httpx

from .app import Sandbox

_lock = threading.Lock()
_sandbox: Sandbox | None = None


def embedded() -> Sandbox:
    """Return this process's sandbox, the same one for all threads and event loops."""
    global _sandbox
    with _lock:
        if _sandbox is None:
            _sandbox = Sandbox()
        return _sandbox


def embedded_transport() -> httpx.AsyncBaseTransport:
    """Return a transport that passes every request to this process's sandbox."""
    return httpx.ASGITransport(app=embedded())
