"""The one thread that talks to a Redis outbox's server, a pipeline at a time."""

from __future__ import annotations

import atexit
import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol
from weakref import WeakSet

from ..errors import OutboxError
from ..fork_hooks import register_fork_hooks
from .contract import MAX_UNSAVED, MAX_UNSAVED_BYTES, WhenFull
from .losses import LOG_EVERY, Losses
from .redis_scripts import CHUNK, CHUNK_BYTES

logger = logging.getLogger(__name__)

GATHER_FOR = 0.005
"""How long appended events wait for company before they are sent, in seconds."""

TRY_AGAIN_AFTER = 1.0
"""The pause before a server that failed is tried again, in seconds."""

FINISH_PAUSE = 0.1
"""The pause before a last try at the interpreter's exit, in seconds."""

MAX_GROUP = 10
"""Chunks sent in one pipeline, so that nobody waits long for its answers."""

EXIT_TIMEOUT = 5.0
"""How long the interpreter's exit waits for events to be stored, in seconds."""


@dataclass(frozen=True, slots=True)
class Call:
    """A script, its arguments, and whose record of batches it keeps."""

    script: str
    arguments: tuple[Any, ...] = ()
    writer: str = ""


class Connection(Protocol):
    """A connected client: sends many scripts at once."""

    def run(self, calls: Sequence[Call]) -> list[Any]:
        """Return the calls' answers in order; errors that came for one are answers.

        Raises:
            OutboxError: The server cannot be reached; some may have been done.
        """
        ...

    def close(self) -> None: ...


@dataclass(slots=True)
class Asked:
    """A call for the writer thread, and where its answer goes.

    Attributes:
        call: What to do; None only waits for what was appended before.
        abandoned: What to do once nobody waits for the answer any longer.
    """

    call: Call | None
    abandoned: Callable[[Any], Call | None] | None = None
    done: Future[Any] = field(default_factory=Future)

    def settle(self, answer: Any) -> Call | None:
        """Pass the answer on; return what is to be done where nobody waits for it."""
        if not self.done.set_running_or_notify_cancel():
            if self.abandoned is None or isinstance(answer, Exception):
                return None
            return self.abandoned(answer)
        if isinstance(answer, Exception):
            self.done.set_exception(answer)
        else:
            self.done.set_result(answer)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What tells a batch of events from its own repetition.

    Attributes:
        writer: The writer's own name.
        sequence: The batch's number among the writer's.
        stored: The last one that is known to be stored.
        refused: How many events were refused up to that one.
        dropped: How many were dropped up to that one.
    """

    writer: str
    sequence: int
    stored: int
    refused: int
    dropped: int


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Events that are sent, and sent again, as one."""

    sequence: int
    packed: list[bytes]


class Writer:
    """Takes work on any thread and does it on one of its own, started when needed.

    Once closed it is done for; whoever has more to do makes another.

    Args:
        name: The outbox, as logs may show it.
        connect: Connects, or raises ``OutboxError``.
        save: Makes the call that stores packed events. Its answer is how many were
            refused and dropped, for all of this writer's batches so far.
        when_full: Whether the newest or the oldest gives way once too many events wait
            in memory.
        losses: Counts those.
    """

    def __init__(
        self,
        name: str,
        *,
        connect: Callable[[], Connection],
        save: Callable[[Sequence[bytes], Batch], Call],
        when_full: WhenFull,
        losses: Losses,
    ) -> None:
        self.problem: str | None = None
        self._name = name
        self._token = secrets.token_hex(8)
        self._connect = connect
        self._save = save
        self._when_full = when_full
        self._losses = losses
        self._lock = threading.Lock()
        self._awake = threading.Event()
        self._hurry = threading.Event()
        self._appended: deque[bytes] = deque()
        self._chunks: deque[_Chunk] = deque()
        self._asked: deque[Asked] = deque()
        self._unsaved = 0
        self._unsaved_bytes = 0
        self._sequence = 0
        self._stored = 0
        self._refused = 0
        self._dropped = 0
        self._closed = False
        self._deadline = float("inf")
        self._thread: threading.Thread | None = None
        self._connection: Connection | None = None
        self._said_at = float("-inf")
        _writers.add(self)

    @property
    def unsaved(self) -> int:
        """How many events wait in memory."""
        return self._unsaved

    # --- any thread --------------------------------------------------------

    def append(self, packed: Sequence[bytes]) -> bool:
        """Have events stored, or count those that find no room; False once closed."""
        size = sum(map(len, packed))
        refused = dropped = 0
        with self._lock:
            if self._closed:
                return False
            if self._fits(len(packed), size):
                self._appended += packed
                self._unsaved += len(packed)
                self._unsaved_bytes += size
            else:
                refused, dropped = self._squeeze_in(packed)
            self._start()
        if not self._awake.is_set():
            self._awake.set()
        if refused:
            self._losses.add("refused", refused, "memory_full")
        if dropped:
            self._losses.add("dropped", dropped, "memory_full")
        return True

    def ask(self, asked: Asked) -> bool:
        """Have a call done, after all that was appended before; False once closed."""
        with self._lock:
            if self._closed:
                return False
            self._asked.append(asked)
            self._start()
        self._hurry.set()
        self._awake.set()
        return True

    def close(self, timeout: float) -> None:
        """Have everything done and the connection closed, within ``timeout`` seconds.

        What cannot be stored by then is counted as lost.
        """
        with self._lock:
            self._closed = True
            # Some of the time is kept to say what became of the events.
            self._deadline = time.monotonic() + timeout * 0.9
            thread = self._thread
        self._hurry.set()
        self._awake.set()
        if thread is not None:
            thread.join(timeout)
        self._give_up()

    def finish(self, timeout: float) -> None:
        """Have everything stored within ``timeout`` seconds; the rest is lost.

        The thread stays: whoever else works at the interpreter's exit may need it, and
        could start no other.
        """
        until = time.monotonic() + timeout
        while self._unsaved:
            asked = Asked(None)
            if not self.ask(asked):
                return
            try:
                asked.done.result(max(0.0, until - time.monotonic()))
            except (OutboxError, TimeoutError):
                if time.monotonic() >= until:
                    self._give_up()
                else:
                    time.sleep(FINISH_PAUSE)

    def _fits(self, count: int, size: int) -> bool:
        return (
            self._unsaved + count <= MAX_UNSAVED
            and self._unsaved_bytes + size <= MAX_UNSAVED_BYTES
        )

    def _squeeze_in(self, packed: Sequence[bytes]) -> tuple[int, int]:
        """Take what has room; return how many were refused and how many dropped."""
        refused = dropped = 0
        for one in packed:
            while (
                self._when_full == "drop_oldest"
                and self._appended
                and not self._fits(1, len(one))
            ):
                self._count_off([self._appended.popleft()])
                dropped += 1
            if self._fits(1, len(one)):
                self._appended.append(one)
                self._unsaved += 1
                self._unsaved_bytes += len(one)
            else:
                refused += 1
        return refused, dropped

    def _count_off(self, packed: Sequence[bytes]) -> None:
        self._unsaved -= len(packed)
        self._unsaved_bytes -= sum(map(len, packed))

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._work, name="moe-outbox", daemon=True
            )
            self._thread.start()

    def _give_up(self) -> None:
        """Count what is left as lost, and let nobody wait for an answer."""
        with self._lock:
            asked, lost = list(self._asked), self._unsaved
            self._asked.clear()
            self._appended.clear()
            self._chunks.clear()
            self._unsaved = self._unsaved_bytes = 0
            # Nobody waits for these batches any longer: the next one may be stored.
            self._stored = self._sequence
        for one in asked:
            one.settle(OutboxError(f"{self._name}: closed"))
        if lost:
            self._losses.add("lost", lost, "outbox_unwritable")

    # --- the writer thread -------------------------------------------------

    def _work(self) -> None:
        while True:
            if self.problem is None:
                self._awake.wait()
                # Whoever waits for an answer does not wait for company.
                self._hurry.wait(GATHER_FOR)
            else:
                left = self._deadline - time.monotonic()
                self._hurry.wait(max(0.0, min(TRY_AGAIN_AFTER, left)))
            self._hurry.clear()
            self._awake.clear()
            self._do()
            with self._lock:
                is_late = self.problem and time.monotonic() >= self._deadline
                done = not (self._unsaved or self._asked)
                if self._closed and (done or is_late):
                    break
                if self._closed and self.problem is None:
                    self._awake.set()
        self._disconnect()

    def _do(self) -> None:
        """Store what was appended by now, then do what was asked for by now."""
        with self._lock:
            asked = list(self._asked)
            self._asked.clear()
            left = self._unsaved
        if not (asked or left):
            return
        try:
            while True:
                group = self._next_group()
                left -= sum(len(chunk.packed) for chunk in group)
                if left <= 0 or not group:
                    break
                self._send(group, [])
            self._send(group, asked)
        except Exception as error:
            self._failed(error, asked)
        else:
            self._succeeded()

    def _next_group(self) -> list[_Chunk]:
        """Cut what one pipeline takes into chunks, which keep their sequence.

        The rest stays uncut: it can still be dropped for newer events.
        """
        with self._lock:
            while self._appended and len(self._chunks) < MAX_GROUP:
                packed: list[bytes] = []
                size = 0
                while self._appended and len(packed) < CHUNK and size < CHUNK_BYTES:
                    packed.append(self._appended.popleft())
                    size += len(packed[-1])
                self._sequence += 1
                self._chunks.append(_Chunk(self._sequence, packed))
            return list(self._chunks)

    def _send(self, chunks: Sequence[_Chunk], asked: Sequence[Asked]) -> None:
        """Send chunks and what was asked for, in one pipeline."""
        if self._connection is None and (chunks or asked):
            self._connection = self._connect()
        calls = [self._save(chunk.packed, self._batch(chunk)) for chunk in chunks]
        wanted = [one for one in asked if one.call and not one.done.cancelled()]
        calls += [one.call for one in wanted if one.call]
        answers = self._run(calls)
        failure: Exception | None = None
        for chunk, answer in zip(chunks, answers, strict=False):
            if isinstance(answer, Exception):
                failure = answer
                break
            self._saved(chunk, answer)
        undone = [
            one.settle(answer)
            for one, answer in zip(wanted, answers[len(chunks) :], strict=True)
        ]
        for one in asked:
            if one.call is None:
                one.settle(failure)
        self._run([call for call in undone if call])
        if failure is not None:
            raise failure

    def _run(self, calls: Sequence[Call]) -> list[Any]:
        return self._connection.run(calls) if calls and self._connection else []

    def _batch(self, chunk: _Chunk) -> Batch:
        return Batch(
            writer=self._token,
            sequence=chunk.sequence,
            stored=self._stored,
            refused=self._refused,
            dropped=self._dropped,
        )

    def _saved(self, chunk: _Chunk, answer: Sequence[int]) -> None:
        with self._lock:
            if not self._chunks:
                return  # given up meanwhile
            self._chunks.popleft()
            self._count_off(chunk.packed)
            self._stored = chunk.sequence
            refused = answer[0] - self._refused
            dropped = answer[1] - self._dropped
            self._refused, self._dropped = answer[0], answer[1]
        if refused:
            self._losses.add("refused", refused, "outbox_full")
        if dropped:
            self._losses.add("dropped", dropped, "outbox_full")

    def _succeeded(self) -> None:
        if self.problem is not None:
            self.problem = None
            logger.warning("outbox_recovered outbox=%s", self._name)

    def _failed(self, error: Exception, asked: Sequence[Asked]) -> None:
        told = (
            error
            if isinstance(error, OutboxError)
            else OutboxError(f"{self._name}: {type(error).__name__}")
        )
        self.problem = str(told)
        self._disconnect()
        for one in asked:
            if not one.done.done():
                one.settle(told)
        now = time.monotonic()
        if now - self._said_at >= LOG_EVERY:
            self._said_at = now
            logger.error(
                "outbox_failed outbox=%s unsaved=%d error=%s: events wait in memory "
                "until it answers: is it running, and is the address in events.outbox "
                "right?",
                self._name,
                self._unsaved,
                str(told).rstrip("."),
            )

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


_writers: WeakSet[Writer] = WeakSet()

# A child has nothing to do for its parent's writers, whose locks
# may be held by threads that it does not have.
register_fork_hooks(after_in_child=_writers.clear)


@atexit.register
def _finish_all() -> None:
    """Store what a script leaves behind that never closed its outbox."""
    until = time.monotonic() + EXIT_TIMEOUT
    for writer in list(_writers):
        writer.finish(until - time.monotonic())
