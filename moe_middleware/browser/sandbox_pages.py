"""Serves the embedded sandbox's pages below the app's own address, for development."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..models.visits import Visit
from ..settings.import_strings import load_target
from .endpoints import NEVER_KEPT, Reply

if TYPE_CHECKING:
    from starlette.types import Message

SANDBOX = "moe_middleware.sandbox:embedded"

PAGES = "sandbox"
"""The pages' path below ``clicks.path``, as in ``/_moe/sandbox/``."""

PAGES_METHODS = ("GET", "HEAD", "POST", "DELETE")

PAGES_BODY = 4 * 1024 * 1024
"""The largest body, in bytes: the sandbox's own limit."""


def known_experiences() -> dict[str, str]:
    """Return the keys of the embedded sandbox's experiences, and their statuses."""
    experiences = load_target(SANDBOX)().workspace.experiences
    return {one.key: str(one.status) for one in experiences}


async def show_pages(visit: Visit, rest: str, body: bytes) -> Reply:
    """Answer requests as the sandbox does: its pages, and its tools."""
    place = visit.path.removesuffix(f"/{rest}")
    mount = f"{visit.root_path}{place}"
    # The pages' relative links need the slash at the end.
    if place == visit.path:
        location = (b"location", quote(f"{mount}/").encode())
        return Reply(308, [location, (b"content-length", b"0"), *NEVER_KEPT])
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": visit.method,
        "scheme": visit.scheme,
        "path": f"{mount}/{rest}",
        "root_path": mount,
        "query_string": visit.query_string,
        "headers": list(visit.all_headers),
        "client": (visit.peer, 0) if visit.peer else None,
        "server": None,
    }
    arriving: list[Message] = [{"type": "http.request", "body": body}]
    sent: list[Message] = []

    over = asyncio.Event()

    async def receive() -> Message:
        if arriving:
            return arriving.pop()
        # A file is sent in parts, and not to a browser that has left.
        await over.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            over.set()

    # Imported here, so that sites without the pages do not load the sandbox.
    await load_target(SANDBOX)()(scope, receive, send)
    start, *parts = sent
    return Reply(
        start["status"],
        [(name.lower(), value) for name, value in start["headers"]],
        b"".join(part.get("body", b"") for part in parts),
    )
