"""Reads and writes files of exported events: one JSON object per line."""

from __future__ import annotations

import base64
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

from .outbox_steps import PAGE
from .terminal import stop

if TYPE_CHECKING:
    from ..outbox import DeadLetter, EventId, WaitingEvent


@contextlib.contextmanager
def new_file(name: str) -> Iterator[IO[bytes]]:
    if name == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        # It has the ids of customers: it is its owner's alone from the first byte on.
        handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        stop([f"{name}: is there already: name a new file"])
    except OSError as error:
        stop([f"{name}: cannot be written: {error.strerror}"])
    with open(handle, "wb") as file:
        yield file


@contextlib.contextmanager
def old_file(name: str) -> Iterator[IO[bytes]]:
    if name == "-":
        yield sys.stdin.buffer
        return
    try:
        file = open(name, "rb")  # noqa: SIM115 - closed below
    except OSError as error:
        stop([f"{name}: cannot be read: {error.strerror}"])
    with file:
        yield file


def size_of(name: str) -> int:
    return 0 if name == "-" else os.path.getsize(name)


async def export_events(
    out: IO[bytes],
    advance: Callable[[int], None],
    look: Callable[..., Awaitable[Sequence[WaitingEvent | DeadLetter]]],
) -> int:
    written = 0
    after: EventId | None = None
    while page := await look(limit=PAGE, after=after):
        out.write(b"".join(line_of(one) for one in page))
        advance(len(page))
        written += len(page)
        after = page[-1].id
    return written


def line_of(one: WaitingEvent | DeadLetter) -> bytes:
    import orjson

    from ..outbox import DeadLetter

    about: dict[str, Any] = {"kind": "waiting", "attempts": one.attempts}
    if isinstance(one, DeadLetter):
        about |= {"kind": "dead", "reason": one.reason, "buried_at": one.buried_at}
    # A body that is no event's is kept as its bytes.
    if one.event:
        about["event"] = orjson.Fragment(one.body)
    else:
        about |= {"event": None, "body": base64.b64encode(one.body).decode()}
    return orjson.dumps(about, option=orjson.OPT_APPEND_NEWLINE)


def pages_of(lines: Iterable[bytes]) -> Iterator[list[tuple[int, bytes]]]:
    page: list[tuple[int, bytes]] = []
    for numbered in enumerate(lines, 1):
        page.append(numbered)
        if len(page) == PAGE:
            yield page
            page = []
    if page:
        yield page


def record_of(number: int, line: bytes) -> WaitingEvent | DeadLetter:
    import orjson

    from ..outbox import DeadLetter, WaitingEvent

    try:
        about = orjson.loads(line)
        if about["event"] is None:
            body = base64.b64decode(about["body"], validate=True)
        else:
            body = orjson.dumps(about["event"])
        if about["kind"] == "waiting":
            return WaitingEvent(id=0, body=body)
        reason, buried_at = str(about["reason"]), float(about["buried_at"])
    except (ValueError, TypeError, KeyError):
        stop([f"line {number}: this is no event that 'export' wrote"])
    return DeadLetter(id=0, body=body, reason=reason, buried_at=buried_at)
