"""The one upstream that all call: MoEngage and its rivals' services in one.

``python -m benchmarks.upstream`` takes orders. It speaks just enough of each protocol,
counts the calls and the events that reach it, answers with one write, and is slow or
broken on demand.
"""

from __future__ import annotations

import asyncio
import gzip
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import orjson
import uvloop

from .orders import Worker, obey, worker
from .peers.contract import CONTEXT, KEY

MANY_KEYS = tuple(f"experience-{number}" for number in range(25))

PAYLOAD = {
    "Title": {"value": "Slow mornings, good tea", "data_type": "string"},
    "Subtitle": {"value": "Small-batch leaves, blended", "data_type": "string"},
    "CTA Label": {"value": "Shop now", "data_type": "string"},
    "CTA URL": {"value": "/shop", "data_type": "string"},
}


@asynccontextmanager
async def upstream(directory: Path) -> AsyncIterator[Upstream]:
    """Run one until the block ends."""
    command = [sys.executable, "-m", "benchmarks.upstream"]
    async with worker("upstream", command, directory) as process:
        yield Upstream(process)


class Upstream:
    """The benchmark's side of it."""

    def __init__(self, process: Worker) -> None:
        self._process = process
        self.url = f"http://127.0.0.1:{process.hello['port']}"

    async def behave(
        self, *, delay: float = 0.0, status: int = 200, silent: bool = False
    ) -> None:
        """Change how it answers from now on, and count from zero.

        Args:
            delay: How long every answer takes, in seconds.
            status: Anything but 200 is the status of every answer.
            silent: Never answer.
        """
        await self._process.ask("behave", delay=delay, status=status, silent=silent)

    async def calls(self) -> int:
        """Return how many calls for a visitor's variations have come."""
        calls: int = (await self._process.ask("tell"))["calls"]
        return calls

    async def events(self) -> tuple[int, float]:
        """Return how many events have come, and when the last one did (monotonic)."""
        counted = await self._process.ask("tell")
        return counted["events"], counted["last_at"]


# --- the process -----------------------------------------------------------


def _response(body: object, status: str = "200 OK") -> bytes:
    content = orjson.dumps(body)
    head = (
        f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def _experiences(*keys: str) -> dict[str, object]:
    answer = {"payload": PAYLOAD, "experience_context": CONTEXT}
    return {"experiences": dict.fromkeys(keys, answer)}


def _metadata(*keys: str) -> dict[str, object]:
    rows = [
        {"experience_key": key, "experience_name": key, "status": "Active"}
        for key in keys
    ]
    return {"metadata": {"experiences": rows}}


VARIATIONS = {
    "/v1/experiences/fetch": _response(_experiences(KEY)),
    "/many/v1/experiences/fetch": _response(_experiences(*MANY_KEYS)),
    "/sdk/v2/vardata": _response({KEY: {"key": "on", "value": "on"}}),
    "/api/v1/identities/": _response(
        {
            "identifier": "u",
            "traits": [],
            "flags": [
                {
                    "feature": {"id": 1, "name": KEY, "type": "STANDARD"},
                    "feature_state_value": "on",
                    "enabled": True,
                }
            ],
        }
    ),
    "/flags/": _response(
        {
            "flags": {
                KEY: {
                    "key": KEY,
                    "enabled": True,
                    "variant": "on",
                    "reason": {"code": "condition_match", "condition_index": 0},
                    "metadata": {"id": 1, "version": 1, "payload": None},
                }
            },
            "errorsWhileComputingFlags": False,
            "requestId": "r",
        }
    ),
    "/api/eval/sdk": _response({"features": {KEY: {"defaultValue": "on"}}}),
}
"""Paths that ask for a visitor's variations, with their answers."""

EVENTS: dict[str, tuple[Callable[[Any], int], bytes]] = {
    "/v1/experiences/events": (
        lambda body: sum(len(element["actions"]) for element in body["elements"]),
        _response({"status": "success"}),
    ),
    "/batch/": (lambda body: len(body["batch"]), _response({"status": 1})),
    "/v1/batch": (lambda body: len(body["batch"]), _response({"success": True})),
    "/2/httpapi": (
        lambda body: len(body["events"]),
        _response({"code": 200, "events_ingested": 0, "payload_size_bytes": 0}),
    ),
    "/bulk": (
        lambda body: sum(event["kind"] == "custom" for event in body),
        _response({}, "202 Accepted"),
    ),
}
"""Paths that take events: how to count them, and the answer."""

OTHERS = {
    "/v1/experiences/metadata": _response(_metadata(KEY)),
    "/many/v1/experiences/metadata": _response(_metadata(*MANY_KEYS)),
}
NOTHING_HERE = _response({}, "404 Not Found")


class _Service:
    """What all connections share."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.events = 0
        self.last_at = 0.0
        self.delay = 0.0
        self.status = 200
        self.silent = False

    async def behave(self, delay: float, status: int, silent: bool) -> dict[str, Any]:
        self.delay, self.status, self.silent = delay, status, silent
        self.calls.clear()
        self.events = 0
        return {}

    async def tell(self) -> dict[str, Any]:
        calls = sum(self.calls[path] for path in VARIATIONS)
        return {"calls": calls, "events": self.events, "last_at": self.last_at}

    def answer(self, path: str, body: bytes, gzipped: bool) -> bytes:
        self.calls[path] += 1
        if self.status != 200:
            return _response({"title": "Broken"}, f"{self.status} Broken")
        found = VARIATIONS.get(path) or OTHERS.get(path)
        if found is not None:
            return found
        if path not in EVENTS:
            return NOTHING_HERE
        count, answer = EVENTS[path]
        self.events += count(orjson.loads(gzip.decompress(body) if gzipped else body))
        self.last_at = time.monotonic()
        return answer


class _Connection(asyncio.Protocol):
    def __init__(self, service: _Service) -> None:
        self._service = service
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._received[:end]).lower()
            size = _content_length(head)
            if len(self._received) < end + 4 + size:
                return
            body = bytes(self._received[end + 4 : end + 4 + size])
            path = head.split(b" ", 2)[1].partition(b"?")[0].decode()
            del self._received[: end + 4 + size]
            self._answer(path, body, b"content-encoding: gzip" in head)

    def _answer(self, path: str, body: bytes, gzipped: bool) -> None:
        service = self._service
        answer = service.answer(path, body, gzipped)
        if service.silent:
            return
        if service.delay:
            loop = asyncio.get_running_loop()
            loop.call_later(service.delay, self._transport.write, answer)
        else:
            self._transport.write(answer)


def _content_length(head: bytes) -> int:
    _, found, rest = head.partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0


async def _serve() -> None:
    service = _Service()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(service), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    await obey({"port": port}, {"behave": service.behave, "tell": service.tell})


if __name__ == "__main__":
    uvloop.run(_serve())
