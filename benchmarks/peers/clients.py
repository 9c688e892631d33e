"""Plain HTTP clients, each set up with care: they send the one request of a fetch.

``httpx`` and ``aiohttp`` are as their users have them. ``sockets`` is the limit:
ready-made bytes on kept sockets, and next to no HTTP.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import orjson

from .contract import KEY

HEADERS = {
    "Authorization": f"Basic {b64encode(b'W:K').decode()}",
    "MOE-APPKEY": "W",
    "Content-Type": "application/json",
    "Accept": "application/json",
}


def _body(user: str) -> bytes:
    body = {
        "experience_key": [KEY],
        "DAY_OF_THE_WEEK": "Friday",
        "TIME_OF_THE_DAY": "09",
        "identifiers": {"customer_id": user},
    }
    return orjson.dumps(body)


def _title(answer: bytes) -> object:
    """Return the value that all peers read."""
    return orjson.loads(answer)["experiences"][KEY]["payload"]["Title"]["value"]


class Httpx:
    def __init__(self, url: str) -> None:
        import httpx

        self._client = httpx.AsyncClient(trust_env=False, timeout=10.0)
        self._url = httpx.URL(f"{url}/v1/experiences/fetch")
        self._headers = httpx.Headers(HEADERS)

    async def fetch(self, user: str) -> object:
        answer = await self._client.post(
            self._url, content=_body(user), headers=self._headers
        )
        return _title(answer.content)


class Aiohttp:
    def __init__(self, url: str) -> None:
        import aiohttp  # type: ignore[import-not-found]

        self._url = f"{url}/v1/experiences/fetch"
        self._begin = aiohttp.ClientSession
        self._session: Any = None

    async def fetch(self, user: str) -> object:
        if self._session is None:
            self._session = self._begin(headers=HEADERS)
        async with self._session.post(self._url, data=_body(user)) as answer:
            return _title(await answer.read())


class Sockets:
    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._host, self._port = str(address.hostname), int(address.port or 80)
        lines = [f"{name}: {value}" for name, value in HEADERS.items()]
        head = ["POST /v1/experiences/fetch HTTP/1.1", f"Host: {address.netloc}"]
        self._head = "\r\n".join([*head, *lines, "Content-Length: "]).encode()
        self._idle: list[_Connection] = []

    async def fetch(self, user: str) -> object:
        body = _body(user)
        connection = self._idle.pop() if self._idle else await self._connect()
        answer = await connection.exchange(
            b"%b%d\r\n\r\n%b" % (self._head, len(body), body)
        )
        self._idle.append(connection)
        return _title(answer)

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: _Connection(loop), self._host, self._port
        )
        return connection


class _Connection(asyncio.Protocol):
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def exchange(self, request: bytes) -> asyncio.Future[bytes]:
        self._answer: asyncio.Future[bytes] = self._loop.create_future()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if found:
            length = int(head.partition(b"content-length: ")[2].partition(b"\r")[0])
            if len(body) >= length:
                self._received = b""
                self._answer.set_result(body)


def peer(url: str, directory: Path, variant: str) -> Httpx | Aiohttp | Sockets:
    match variant:
        case "aiohttp":
            return Aiohttp(url)
        case "sockets":
            return Sockets(url)
        case _:
            return Httpx(url)
