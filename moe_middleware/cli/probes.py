"""Answers liveness probes over HTTP, for a process that serves nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import orjson

from ..outbox import Outbox

PATIENCE = 2.0
"""The time limit for a probe's request, in seconds."""


async def answer_probes(
    host: str, port: int, outbox: Outbox, describe: Callable[[], Mapping[str, Any]]
) -> asyncio.Server:
    """Listen, and answer every request with 200, or 503 if the outbox fails.

    The body is JSON: ``ok``, the outbox's ``problem``, and what the process describes.

    Raises:
        OSError: The address cannot be listened on.
    """

    async def answer(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        # All requests get the same response, also those that are cut off.
        with suppress(TimeoutError, OSError, ValueError, asyncio.IncompleteReadError):
            async with asyncio.timeout(PATIENCE):
                await reader.readuntil(b"\r\n\r\n")
        health = await outbox.health()
        state = {"ok": health.writable, "outbox": health.problem, **describe()}
        body = orjson.dumps(state)
        status = b"200 OK" if health.writable else b"503 Service Unavailable"
        with suppress(OSError):
            writer.write(
                b"HTTP/1.1 %b\r\ncontent-type: application/json\r\n"
                b"content-length: %d\r\nconnection: close\r\n\r\n%b"
                % (status, len(body), body)
            )
            await writer.drain()
            writer.close()

    return await asyncio.start_server(answer, host, port)
