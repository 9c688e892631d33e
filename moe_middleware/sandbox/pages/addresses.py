"""Where the reader of a page reaches the sandbox. Pure."""

from __future__ import annotations

from starlette.requests import Request


def address_of(request: Request) -> str:
    """Return the sandbox's address, as in ``http://127.0.0.1:8787``, mount included."""
    root = str(request.scope.get("root_path", "")).rstrip("/")
    return f"{request.url.scheme}://{request.url.netloc}{root}"
