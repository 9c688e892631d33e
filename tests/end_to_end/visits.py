"""A browser that keeps its connection, and notes how each page was answered."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Visited:
    """One page of the telling site.

    Attributes:
        seconds: From the request's first byte to the page's last, in seconds.
        source: Where the page's experience came from; ``plain`` for a page without.
        reason: Why it was a fallback, or stale; ``None`` where it was neither.
        title: What the visitor saw.
    """

    seconds: float
    source: str
    reason: str
    title: str

    @property
    def answer(self) -> str:
        """Its source and its reason, as a table tells them."""
        return self.source if self.reason == "None" else f"{self.source} {self.reason}"


class Browser:
    """Visits pages one after the other, as customers of any name."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader = reader
        self._writer = writer

    async def visit(self, customer: str = "nobody", path: str = "/") -> Visited:
        started = time.perf_counter()
        body = await self._get(customer, path)
        seconds = time.perf_counter() - started
        source, reason, title = body.decode().split(" ")
        return Visited(seconds=seconds, source=source, reason=reason, title=title)

    async def counts(self) -> dict[str, Any]:
        """Return the counts of the site so far."""
        answer: dict[str, Any] = json.loads(await self._get("nobody", "/counts"))
        return answer

    async def _get(self, customer: str, path: str) -> bytes:
        self._writer.write(
            f"GET {path} HTTP/1.1\r\nhost: shop.test\r\nuser-agent: Firefox\r\n"
            f"cookie: customer_id={customer}\r\n\r\n".encode()
        )
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        assert head.startswith(b"http/1.1 200 "), head
        [length] = [
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.startswith(b"content-length:")
        ]
        return await self._reader.readexactly(length)


@asynccontextmanager
async def browsing(port: int) -> AsyncIterator[Browser]:
    """Open a browser at a site of 127.0.0.1 until the block ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Browser(reader, writer)
    finally:
        writer.close()
