"""Reads the body of a request, of unknown origin, as one JSON document."""

from __future__ import annotations

from typing import Any

from starlette.types import Receive

from ...models.json_texts import JSONTextError, parse_json
from ..workspace.workspace import MAX_DEPTH
from .refusals import empty_body, malformed_json, too_large

MAX_BODY = 4 * 1024 * 1024
"""The largest body, in bytes; MoEngage publishes no limit."""


async def read_body(receive: Receive, most: int = MAX_BODY) -> bytes | None:
    """Return the body, or None if it has more than ``most`` bytes.

    A body that is too large is also read to its end: a client that is still sending
    would miss the response.

    Raises:
        Refusal: The client has disconnected.
    """
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise malformed_json("it ends too early")
        chunk = message.get("body", b"")
        more = message.get("more_body", False)
        size += len(chunk)
        if size > most:
            chunks.clear()
        else:
            chunks.append(chunk)
    return b"".join(chunks) if size <= most else None


def parse_body(body: bytes | None) -> Any:
    """Return the JSON document of a body.

    Raises:
        Refusal: It is no JSON, or too large.
    """
    if body is None:
        raise too_large(MAX_BODY)
    if not body:
        raise empty_body()
    try:
        return parse_json(body, max_depth=MAX_DEPTH)
    except JSONTextError as error:
        raise malformed_json(str(error)) from error
