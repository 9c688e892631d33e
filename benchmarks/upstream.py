"""The one upstream that all call: MoEngage and its rivals' services in one.

``python -m benchmarks.upstream`` takes orders. It speaks just enough of each protocol,
counts the calls and the events that reach it, answers with one write, and is slow or
broken on demand. For ``losses`` it keeps whose events they are.
"""

from __future__ import annotations

import asyncio
import gzip
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import orjson
import uvloop

from .peers.contract import CONTEXT, KEY
from .processes import Worker, obey, worker

MANY_KEYS = tuple(f"experience-{number}" for number in range(25))

PAYLOAD = {
    "Title": {"value": "Slow mornings, good tea", "data_type": "string"},
    "Subtitle": {"value": "Small-batch leaves, blended", "data_type": "string"},
    "CTA Label": {"value": "Shop now", "data_type": "string"},
    "CTA URL": {"value": "/shop", "data_type": "string"},
}


Trouble = Literal["none", "status 503", "cut", "hang"]
"""How reports fail: they are answered 503, cut off before they are looked at, or never
answered."""


@contextmanager
def upstream(directory: Path, *, keeps: bool = False) -> Iterator[Upstream]:
    """Run one until the block ends.

    Args:
        directory: Gets its log.
        keeps: Whether it keeps which customers' events have come.
    """
    kept = ["keeps"] if keeps else []
    with worker("upstream", "benchmarks.upstream", *kept, folder=directory) as process:
        yield Upstream(process)


class Upstream:
    """The benchmark's side of it."""

    def __init__(self, process: Worker) -> None:
        self._process = process
        self.url = process.url

    def behave(
        self, *, delay: float = 0.0, status: int = 200, silent: bool = False
    ) -> None:
        """Change how it answers from now on, and count from zero.

        Args:
            delay: How long every answer takes, in seconds.
            status: Anything but 200 is the status of every answer.
            silent: Never answer.
        """
        self._process.ask("behave", delay=delay, status=status, silent=silent)
        self._process.ask("forget")

    def calls(self) -> int:
        """Return how many calls for a visitor's variations have come."""
        calls: int = self._process.ask("tell")["calls"]
        return calls

    def events(self) -> tuple[int, float]:
        """Return how many events have come, and when the last one did (monotonic)."""
        counted = self._process.ask("tell")
        return counted["events"], counted["last_at"]

    def fail(self, trouble: Trouble) -> None:
        """Fail from now on, or no longer; connections that hang then are cut."""
        self._process.ask(
            "behave",
            status=503 if trouble == "status 503" else 200,
            cut=trouble == "cut",
            silent=trouble == "hang",
        )

    def lose_answer(self) -> None:
        """Store the next report and cut its connection."""
        self._process.ask("behave", lose_answers=1)

    def stored(self) -> Counter[str]:
        """Return how many events are kept, by customer; a repeated id counts once."""
        return Counter(self._process.ask("stored"))

    def deliver(self) -> None:
        """Do nothing: the rivals keep no event that a next start could deliver."""


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


class _Events(NamedTuple):
    """How a path takes events: which a body has, each one's customer and id."""

    of: Callable[[Any], Sequence[Any]]
    customer: Callable[[Any], str]
    id: str
    answer: bytes


EVENTS = {
    "/v1/experiences/events": _Events(
        lambda body: [one for each in body["elements"] for one in each["actions"]],
        lambda one: "",
        "moe_event_uuid",
        _response({"status": "success"}),
    ),
    "/batch/": _Events(
        lambda body: body["batch"],
        lambda one: one["distinct_id"],
        "uuid",
        _response({"status": 1}),
    ),
    "/v1/batch": _Events(
        lambda body: body["batch"],
        lambda one: one["userId"],
        "messageId",
        _response({"success": True}),
    ),
    "/2/httpapi": _Events(
        lambda body: body["events"],
        lambda one: one["user_id"],
        "insert_id",
        _response({"code": 200, "events_ingested": 0, "payload_size_bytes": 0}),
    ),
    "/v1/events": _Events(
        lambda body: body["events"],
        lambda one: one["identifier"],
        "",
        _response({}),
    ),
    "/bulk": _Events(
        lambda body: [one for one in body if one["kind"] == "custom"],
        lambda one: (one.get("context") or {"key": one["contextKeys"]["user"]})["key"],
        "",
        _response({}, "202 Accepted"),
    ),
}
"""Paths that take events."""

OTHERS = {
    "/v1/experiences/metadata": _response(_metadata(KEY)),
    "/many/v1/experiences/metadata": _response(_metadata(*MANY_KEYS)),
}
NOTHING_HERE = _response({}, "404 Not Found")


class _Service:
    """What all connections share."""

    def __init__(self, keeps: bool) -> None:
        self.calls: Counter[str] = Counter()
        self.events = 0
        self.last_at = 0.0
        self.delay = 0.0
        self.status = 200
        self.cut = False
        self.silent = False
        self.lose_answers = 0
        self.hanging: list[asyncio.WriteTransport] = []
        self._keeps = keeps
        self._kept: Counter[str] = Counter()
        self._ids: set[str] = set()

    async def behave(
        self,
        delay: float = 0.0,
        status: int = 200,
        cut: bool = False,
        silent: bool = False,
        lose_answers: int = 0,
    ) -> dict[str, Any]:
        self.delay, self.status, self.cut, self.silent = delay, status, cut, silent
        self.lose_answers = lose_answers
        while self.hanging:
            self.hanging.pop().abort()
        return {}

    async def forget(self) -> dict[str, Any]:
        self.calls.clear()
        self.events = 0
        return {}

    async def tell(self) -> dict[str, Any]:
        calls = sum(self.calls[path] for path in VARIATIONS)
        return {"calls": calls, "events": self.events, "last_at": self.last_at}

    async def stored(self) -> dict[str, int]:
        return dict(self._kept)

    def answer(self, path: str, head: bytes, body: bytes) -> bytes:
        """Return the answer to a request; nothing, to cut its connection."""
        self.calls[path] += 1
        if self.cut:
            return b""
        if self.status != 200:
            # Amplitude's client reads the status from the body.
            problem = {"title": "Broken", "code": self.status}
            return _response(problem, f"{self.status} Broken")
        found = VARIATIONS.get(path) or OTHERS.get(path)
        if found is not None:
            return found
        if path not in EVENTS or self.silent:
            return NOTHING_HERE
        how = EVENTS[path]
        if b"content-encoding: gzip" in head:
            body = gzip.decompress(body)
        events = how.of(orjson.loads(body))
        self.events += len(events)
        self.last_at = time.monotonic()
        if self._keeps:
            self._keep(how, events, _header(head, b"x-launchdarkly-payload-id"))
        if events and self.lose_answers:
            self.lose_answers -= 1
            return b""
        return how.answer

    def _keep(self, how: _Events, events: Sequence[Any], payload_id: bytes) -> None:
        for number, event in enumerate(events):
            # LaunchDarkly's events have no ids; the payload that carries them has one.
            id = event.get(how.id) or (payload_id and f"{payload_id!r}/{number}")
            if not id or id not in self._ids:
                self._kept[how.customer(event)] += 1
            self._ids.add(id or "")


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
            size = int(_header(head, b"content-length") or 0)
            if len(self._received) < end + 4 + size:
                return
            body = bytes(self._received[end + 4 : end + 4 + size])
            del self._received[: end + 4 + size]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        service = self._service
        path = head.split(b" ", 2)[1].partition(b"?")[0].decode()
        answer = service.answer(path, head, body)
        if service.silent:
            service.hanging.append(self._transport)
        elif not answer:
            self._transport.abort()
        elif service.delay:
            loop = asyncio.get_running_loop()
            loop.call_later(service.delay, self._transport.write, answer)
        else:
            self._transport.write(answer)


def _header(head: bytes, name: bytes) -> bytes:
    return head.partition(b"\r\n%b:" % name)[2].partition(b"\r\n")[0].strip()


async def _serve() -> None:
    service = _Service(keeps="keeps" in sys.argv)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(service), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    orders = ("behave", "forget", "tell", "stored")
    await obey({"port": port}, {order: getattr(service, order) for order in orders})


if __name__ == "__main__":
    uvloop.run(_serve())
