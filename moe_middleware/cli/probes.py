"""Answers liveness probes over HTTP, for a process that serves nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import orjson

from ..outbox import Outbox

PATIENCE = 2.0
"""The time limit for a probe's request, in seconds."""


async def answer_probes(
    host: str,
    port: int,
    outbox: Outbox,
    describe: Callable[[], Mapping[str, Any]],
    metrics: Callable[[], Awaitable[bytes]] | None = None,
) -> asyncio.Server:
    """Listen, and answer every request with 200, or 503 if the outbox fails.

    The body is JSON: ``ok``, the outbox's ``problem``, and what the process describes.
    With ``metrics``, ``/metrics`` has those instead, for Prometheus.

    Raises:
        OSError: The address cannot be listened on.
    """

    async def answer(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        # Other requests all get the same response, also those that are cut off.
        request, status, kind = b"", b"200 OK", b"application/json"
        with suppress(TimeoutError, OSError, ValueError, asyncio.IncompleteReadError):
            async with asyncio.timeout(PATIENCE):
                request = await reader.readuntil(b"\r\n\r\n")
        if metrics is not None and request.startswith(b"GET /metrics"):
            body, kind = await metrics(), b"text/plain; version=0.0.4; charset=utf-8"
        else:
            health = await outbox.health()
            state = {"ok": health.writable, "outbox": health.problem, **describe()}
            body = orjson.dumps(state)
            status = b"200 OK" if health.writable else b"503 Service Unavailable"
        with suppress(OSError):
            writer.write(
                b"HTTP/1.1 %b\r\ncontent-type: %b\r\n"
                b"content-length: %d\r\nconnection: close\r\n\r\n%b"
                % (status, kind, len(body), body)
            )
            await writer.drain()
            writer.close()

    return await asyncio.start_server(answer, host, port)
