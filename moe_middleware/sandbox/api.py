"""The API's three endpoints as an ASGI app.

It uses no framework, so that it is as fast as the sites tested against it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import orjson
from starlette.types import Receive, Scope, Send

from ..concurrency.threads import in_thread
from .memory.request_log import MAX_KEPT, Exchange
from .memory.state import State
from .protocol.answers import LISTED, events_answer, fetch_answer, metadata_answer
from .protocol.bodies import parse_body, read_body
from .protocol.credentials import check_credentials
from .protocol.endpoints import METHODS, ROOT
from .protocol.events import parse_elements
from .protocol.fetches import parse_fetch
from .protocol.leniencies import Leniency, Reading, reading_of
from .protocol.refusals import (
    Refusal,
    over_limit,
    plain_refusal,
    wrong_content_type,
    wrong_method,
)
from .workspace.faults import Hit, hang_up
from .workspace.templating import TOGETHER, NotAtOnce, rendering_within
from .workspace.workspace import Workspace

logger = logging.getLogger(__name__)

PIECE = 0.1
"""Seconds between the pieces of a slow response's body."""

Pairs = tuple[tuple[bytes, bytes], ...]

_JSON: Pairs = ((b"content-type", b"application/json"),)

# Named tuples, as each call makes one of each: dataclasses take longer.


class Call(NamedTuple):
    """One call, read to its end; a body of None was too large.

    Query and headers are those of ASGI, the headers by lower-case name.
    """

    workspace: Workspace
    endpoint: str
    method: str
    query: bytes
    headers: Mapping[bytes, bytes]
    body: bytes | None


class Answer(NamedTuple):
    """The response."""

    status: int
    headers: Pairs
    body: bytes


class Api:
    """Handles calls of the three endpoints, and applies faults to them."""

    def __init__(self, sandbox: State) -> None:
        self._sandbox = sandbox
        self._handlers: dict[str, Callable[[Call], Awaitable[dict[str, Any]]]] = {
            "fetch": self._fetch,
            "metadata": self._metadata,
            "events": self._record,
        }

    async def serve(
        self, endpoint: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer a call or apply a fault to it; log it in both cases."""
        at, started = self._sandbox.clock(), time.perf_counter()
        hit = self._sandbox.arrive(endpoint)
        # It waits before it reads: a caller that gives up meanwhile leaves no event.
        if hit:
            await asyncio.sleep(hit.delay)
        dropped = hit is not None and hit.fault.drop
        try:
            body = b"" if dropped else await read_body(receive)
        except Refusal:
            return  # The client has disconnected.
        call = self._call(endpoint, scope, body)
        answer = None if dropped else await self._answer(call, hit)
        lost = answer is None or (hit is not None and hit.fault.lose_response)
        kept = answer.body if answer else b""
        self._sandbox.requests.add(
            Exchange(
                number=0,
                at=at,
                endpoint=endpoint,
                method=call.method,
                raw_path=scope["path"],
                raw_query=call.query,
                raw_headers=scope["headers"],
                status=None if answer is None or lost else answer.status,
                seconds=time.perf_counter() - started,
                request_body=(body or b"")[:MAX_KEPT],
                request_size=None if body is None else len(body),
                response_body=kept[:MAX_KEPT],
                response_size=len(kept),
                fault=hit.fault.describe() if hit else "",
            )
        )
        if answer is None or lost:
            await hang_up(scope, receive)
        else:
            await _send(answer, scope, send, hit.fault.drip if hit else None)

    def _call(self, endpoint: str, scope: Scope, body: bytes | None) -> Call:
        return Call(
            workspace=self._sandbox.workspace,
            endpoint=endpoint,
            method=scope["method"],
            query=scope["query_string"],
            headers=dict(scope["headers"]),
            body=body,
        )

    async def _answer(self, call: Call, hit: Hit | None) -> Answer:
        if hit is None:
            return await self._real_answer(call)
        if status := hit.fault.status:
            refusal = plain_refusal(
                status, "A fault of the sandbox causes this response."
            )
            answer = self._refuse(call, refusal)
        else:
            answer = await self._real_answer(call)
        return answer._replace(body=hit.noise) if hit.fault.garbage else answer

    async def _real_answer(self, call: Call) -> Answer:
        allowed = METHODS[call.endpoint]
        try:
            if call.method not in allowed:
                allow = (b"allow", ", ".join(allowed).encode())
                return self._refuse(call, wrong_method(), (allow,))
            return self._pack(call, 200, await self._handlers[call.endpoint](call))
        except Refusal as refusal:
            return self._refuse(call, refusal)
        except Exception:
            logger.exception("sandbox_failed path=%s%s", ROOT, call.endpoint)
            mistake = plain_refusal(500, "The sandbox has a mistake in it.")
            return self._refuse(call, mistake)

    async def _fetch(self, call: Call) -> dict[str, Any]:
        workspace = call.workspace
        check_credentials(workspace, call.headers)
        # After the credentials: other calls use up nothing of the limit.
        if not self._sandbox.limit.take(workspace.fetch_limit):
            raise over_limit(workspace.fetch_limit)
        reading = reading_of(workspace)
        fetch = parse_fetch(_document(call, reading), reading)
        visitor = self._sandbox.store.visitor(fetch)
        now = self._sandbox.clock()
        answer = await _made(
            partial(fetch_answer, workspace, fetch.keys, visitor, now=now)
        )
        self._sandbox.leniencies.add(reading.used, now)
        return answer

    async def _metadata(self, call: Call) -> dict[str, Any]:
        check_credentials(call.workspace, call.headers)
        query = parse_qs(call.query.decode("latin-1"), errors="replace")
        wanted = ",".join(query.get("status", ()))
        statuses = wanted.split(",") if wanted else LISTED
        now = self._sandbox.clock()
        return metadata_answer(call.workspace, statuses, now=now)

    async def _record(self, call: Call) -> dict[str, Any]:
        workspace, sandbox = call.workspace, self._sandbox
        check_credentials(workspace, call.headers)
        reading = reading_of(workspace)
        elements = parse_elements(_document(call, reading), reading)
        receipt = events_answer(sandbox.letters())
        now = sandbox.clock()
        sandbox.store.record(elements, now)
        sandbox.leniencies.add(reading.used, now)
        return receipt

    def _refuse(self, call: Call, refusal: Refusal, headers: Pairs = ()) -> Answer:
        envelope = refusal.envelope(self._sandbox.letters)
        return self._pack(call, refusal.status, envelope, headers)

    def _pack(
        self, call: Call, status: int, document: Any, headers: Pairs = ()
    ) -> Answer:
        if call.endpoint == "fetch":
            headers += self._sandbox.limit.headers(call.workspace.fetch_limit)
        return Answer(
            status=status, headers=_JSON + headers, body=orjson.dumps(document)
        )


async def _made(make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return a pure function's result; use a thread if templates may take long."""

    def make_within() -> dict[str, Any]:
        with rendering_within(TOGETHER):
            return make()

    # Few templates need the program: most fetches stay on the event loop.
    try:
        with rendering_within(0):
            return make()
    except NotAtOnce:
        return await in_thread(make_within, "moe-templates")


def _document(call: Call, reading: Reading) -> Any:
    """Return a call's body, and check its Content-Type."""
    kind, _, _ = call.headers.get(b"content-type", b"").partition(b";")
    if kind.strip().lower() != b"application/json" and not reading.allows(
        Leniency.OTHER_CONTENT_TYPE
    ):
        raise wrong_content_type()
    return parse_body(call.body)


async def _send(answer: Answer, scope: Scope, send: Send, drip: float | None) -> None:
    body = answer.body
    length = (b"content-length", str(len(body)).encode())
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [*answer.headers, length],
        }
    )
    # Its Content-Length is that of the body it leaves out.
    if scope["method"] == "HEAD":
        body = b""
    if drip:
        size = max(1, int(drip * PIECE))
        while len(body) > size:
            piece, body = body[:size], body[size:]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(size / drip)
    await send({"type": "http.response.body", "body": body})
