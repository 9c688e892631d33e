"""What a batch writer stores, and what it needs of a store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from .journal import Record

MAX_BATCH = 10_000
"""Events stored together at most, so that no operation waits long."""


@dataclass(slots=True)
class Operation:
    """Something for the store to do, and where its result goes.

    Attributes:
        work: What to do, as the store takes it; None only waits for what was appended
            before.
        reads: Whether it only reads, and needs no lock.
        after_saving: Whether it fails where what was appended before cannot be stored.
        abandoned: Returns what to do with a result for which no caller waits any more.
    """

    work: Any = None
    reads: bool = False
    after_saving: bool = False
    abandoned: Callable[[Any], Operation | None] | None = None
    done: Future[Any] = field(default_factory=Future)

    def settle(self, result: Any) -> Operation | None:
        """Pass a result or an error on; return what is to be done without a caller."""
        if not self.done.set_running_or_notify_cancel():
            if self.abandoned is None or isinstance(result, Exception):
                return None
            return self.abandoned(result)
        if isinstance(result, Exception):
            self.done.set_exception(result)
        else:
            self.done.set_result(result)
        return None


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one journal, in order.

    Attributes:
        journal: The journal's name.
        records: The records; those that are stored already are passed over.
    """

    journal: str
    records: Sequence[Record]


@dataclass(slots=True)
class Outcome:
    """What a store has done.

    Attributes:
        saved: How many of the batch's records are stored.
        refused: How many events of theirs were refused.
        dropped: How many older events were dropped for them.
        results: Each operation's result or error.
        error: Why records are not stored, or why the store cannot be used at all.
    """

    saved: int = 0
    refused: int = 0
    dropped: int = 0
    results: Sequence[Any] = ()
    error: Exception | None = None


class Store(Protocol):
    """What a writer's thread writes to.

    Attributes:
        batch_bytes: How large a batch may be now, in bytes.
        deadline: When it has to give up what it tries, by the monotonic clock.
        comes_back: Whether an error may be over within the time of a close.
    """

    batch_bytes: int
    deadline: float
    comes_back: bool

    def do(self, batch: Batch | None, operations: Sequence[Operation]) -> Outcome:
        """Store a batch and do operations; what fails is in the outcome."""
        ...

    def log_failure(self, error: Exception, unsaved: int) -> None:
        """Log why records are not stored, and what to do."""
        ...

    def close(self) -> int:
        """Close it; return how many stored events are lost with it."""
        ...
