"""The sandbox's address as the reader of a page sees it. Pure."""

from __future__ import annotations

from starlette.requests import Request


def address_of(request: Request) -> str:
    """Return the sandbox's URL, as in ``http://127.0.0.1:8787``, with its mount."""
    root = str(request.scope.get("root_path", "")).rstrip("/")
    return f"{request.url.scheme}://{request.url.netloc}{root}"
