"""MoEngage's API on a real port, with and without faults."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from functools import cache

import trustme

from .makers import CONTEXT

HUGE = 50_000_000
"""The size of the huge answer, in bytes."""

RESET_AFTER = 2
"""How long the rate limit asks to wait, in whole seconds."""


class Fault(StrEnum):
    """What is wrong with the API."""

    NONE = "none"
    SILENT = "never answers"
    REFUSING = "refuses connections"
    CUTTING = "closes in the middle of a body"
    DRIPPING = "sends one byte a second"
    FAILING = "sends 500s"
    LIMITED = "sends 429s with a reset"
    UNAUTHORIZED = "sends 401s"
    HTML = "sends HTML instead of JSON"
    HUGE = "sends 50 MB"
    PACKED = "sends 400 kB of gzip that are 400 MB"
    CRUMBS = "sends an answer in one-byte chunks without end"
    DEEP = "sends payloads of 300 levels"
    MILLISECONDS = "sends 429s with a reset in milliseconds"
    UNTRUSTED = "has an untrusted certificate"
    NO_TLS = "speaks no TLS at its TLS port"


_LISTENS_OTHERWISE = {Fault.REFUSING, Fault.UNTRUSTED, Fault.NO_TLS}


class Authority:
    """Signs the API's certificate; sites find it as ``SSL_CERT_FILE``."""

    def __init__(self) -> None:
        self._known, self._unknown = trustme.CA(), trustme.CA()

    def certificate(self) -> bytes:
        return self._known.cert_pem.bytes()

    def context(self, *, trusted: bool) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority = self._known if trusted else self._unknown
        authority.issue_cert("localhost").configure_cert(context)
        return context


class API:
    """Answers every fetch with a match for each key, or as its fault wants.

    Attributes:
        fault: What is wrong with it now.
        heard: Requests that reached it.
        port: Where it listens; the same for all its life.
    """

    def __init__(self, authority: Authority | None = None) -> None:
        self.fault = Fault.NONE
        self.heard = 0
        self.port = 0
        self._authority = authority
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        if self._authority is not None:
            return f"https://localhost:{self.port}/v1"
        return f"http://127.0.0.1:{self.port}/v1"

    async def behave(self, fault: Fault) -> None:
        """Have this fault from now on.

        Calls under way go on as they began: nothing that hung gets its answer now.
        """
        if fault is Fault.PACKED:
            # Packing takes seconds: it is done before anything is measured.
            await asyncio.to_thread(_packed)
        listens_anew = self._server is None or {fault, self.fault} & _LISTENS_OTHERWISE
        self.fault = fault
        if listens_anew:
            await self.close()
        if listens_anew and fault is not Fault.REFUSING:
            await self._listen()

    async def close(self) -> None:
        """Listen no more, and cut every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _listen(self) -> None:
        context = None
        if self._authority is not None and self.fault is not Fault.NO_TLS:
            trusted = self.fault is not Fault.UNTRUSTED
            context = self._authority.context(trusted=trusted)
        self._server = await asyncio.start_server(
            self._talk, "127.0.0.1", self.port, ssl=context
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._writers.add(writer)
        try:
            if self.fault is Fault.NO_TLS:
                await reader.read(1)
                _write(writer, 400, b"this is plain HTTP")
                await writer.drain()
                return
            while True:
                body = await _heard(reader)
                self.heard += 1
                if not await self._answer(reader, writer, body):
                    return
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes
    ) -> bool:
        """Answer one request; False where the connection is to be closed."""
        match self.fault:
            case Fault.SILENT:
                await reader.read()
                return False
            case Fault.CUTTING:
                writer.write(_head(200, 1000) + b'{"experiences":')
                await writer.drain()
                return False
            case Fault.DRIPPING:
                writer.write(_head(200, 1000))
                await _drip(reader, writer)
                return False
            case Fault.HUGE:
                writer.write(_head(200, HUGE))
                for _ in range(HUGE // 50_000):
                    writer.write(b" " * 50_000)
                    await writer.drain()
            case Fault.FAILING:
                _write(writer, 500, b'{"title":"Error"}')
            case Fault.UNAUTHORIZED:
                _write(writer, 401, b'{"title":"Authentication required"}')
            case Fault.LIMITED:
                reset = int(time.time()) + RESET_AFTER
                headers = (
                    "x-ratelimit-limit: 10000\r\nx-ratelimit-remaining: 0\r\n"
                    f"x-ratelimit-reset: {reset}\r\n"
                )
                _write(writer, 429, b'{"title":"Rate limit"}', headers)
            case Fault.MILLISECONDS:
                reset = int((time.time() + RESET_AFTER) * 1000)
                headers = f"x-ratelimit-reset: {reset}\r\n"
                _write(writer, 429, b'{"title":"Rate limit"}', headers)
            case Fault.PACKED:
                _write(writer, 200, _packed(), "content-encoding: gzip\r\n")
            case Fault.CRUMBS:
                writer.write(b"HTTP/1.1 200 -\r\ntransfer-encoding: chunked\r\n\r\n")
                while True:
                    writer.write(b"1\r\n \r\n" * 10_000)
                    await writer.drain()
            case Fault.DEEP:
                deep = b"[" * 300 + b"]" * 300
                _write(writer, 200, _experiences(body).replace(b'"Sale"', deep))
            case Fault.HTML:
                _write(writer, 200, b"<!doctype html><h1>Back soon</h1>")
            case _:
                _write(writer, 200, _experiences(body))
        await writer.drain()
        return True


@asynccontextmanager
async def misbehaving(
    fault: Fault = Fault.NONE, authority: Authority | None = None
) -> AsyncIterator[API]:
    """Run the API until the block ends.

    Args:
        fault: What is wrong with it at first.
        authority: Vouches for it; None speaks plain HTTP.
    """
    api = API(authority)
    await api.behave(Fault.NONE)
    if fault is not Fault.NONE:
        await api.behave(fault)
    try:
        yield api
    finally:
        await api.close()


async def _heard(reader: asyncio.StreamReader) -> bytes:
    """Read one request; return its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return await reader.readexactly(int(line[15:]))
    return b""


def _head(status: int, length: int, headers: str = "") -> bytes:
    return (
        f"HTTP/1.1 {status} -\r\ncontent-type: application/json\r\n{headers}"
        f"content-length: {length}\r\n\r\n"
    ).encode()


def _write(
    writer: asyncio.StreamWriter, status: int, body: bytes, headers: str = ""
) -> None:
    writer.write(_head(status, len(body), headers) + body)


async def _drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    gone = asyncio.ensure_future(reader.read())
    try:
        while not gone.done():
            writer.write(b" ")
            await asyncio.wait([gone], timeout=1.0)
    finally:
        gone.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await gone


@cache
def _packed() -> bytes:
    packer = zlib.compressobj(wbits=31)
    packed = [packer.compress(bytes(1_000_000)) for _ in range(400)]
    return b"".join([*packed, packer.flush()])


def _experiences(body: bytes) -> bytes:
    keys = json.loads(body)["experience_key"] if body else []
    found = {
        key: {
            "payload": {"Title": {"value": "Sale", "data_type": "string"}},
            "experience_context": CONTEXT,
        }
        for key in keys
    }
    return json.dumps({"experiences": found}).encode()
