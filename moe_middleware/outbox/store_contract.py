"""The contract between a batch writer and its store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from .journal_records import Record

MAX_BATCH = 10_000
"""The most events of one batch, so that no operation waits long."""


@dataclass(slots=True)
class Operation:
    """One operation of a store, with a future for its result."""

    # In the store's own form; None only waits for earlier appends.
    work: Any = None
    # Whether it only reads, and needs no lock.
    reads: bool = False
    # Whether it fails if earlier appends cannot be stored.
    after_saving: bool = False
    # Returns the operation that undoes a result for a cancelled caller.
    abandoned: Callable[[Any], Operation | None] | None = None
    done: Future[Any] = field(default_factory=Future)

    def settle(self, result: Any) -> Operation | None:
        """Set the result or error; if the caller is gone, return the undo operation."""
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
    """Records of one journal, in order."""

    journal: str
    # The store skips those that are stored already: a killed process may have stored
    # them without marking it.
    records: Sequence[Record]


@dataclass(slots=True)
class Outcome:
    """The result of ``Store.do``."""

    # How many of the batch's records are stored, of their events: how many were not
    # stored before, were refused, and how many older ones were dropped for them.
    saved: int = 0
    added: int = 0
    refused: int = 0
    dropped: int = 0
    # Each operation's result or error.
    results: Sequence[Any] = ()
    # Why records are not stored, or why the store cannot be used.
    error: Exception | None = None

    def add(self, part: Outcome) -> None:
        """Add the counts of a part of the batch."""
        self.saved += part.saved
        self.added += part.added
        self.refused += part.refused
        self.dropped += part.dropped


class Store(Protocol):
    """The store of a batch writer, used on its thread alone.

    Attributes:
        batch_bytes: The most bytes of a batch.
        deadline: When to give up retries, by the monotonic clock, in seconds.
        comes_back: Whether an error may end during a close.
    """

    batch_bytes: int
    deadline: float
    comes_back: bool

    def do(self, batch: Batch | None, operations: Sequence[Operation]) -> Outcome:
        """Store a batch and run operations; failures are in the outcome."""

    def log_failure(self, error: Exception, unsaved: int) -> None:
        """Log why records are not stored, with advice."""

    def close(self) -> int:
        """Close it; return how many stored events are lost with it."""
