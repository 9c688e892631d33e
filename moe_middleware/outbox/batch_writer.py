"""The writer thread of an outbox's store: it stores appended events in batches.

Longer than 350 lines: one thread, from its first record to the end of its process.
"""

from __future__ import annotations

import atexit
import logging
import mmap
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from secrets import token_hex
from typing import Any
from weakref import WeakSet

from ..concurrency.fork_hooks import register_fork_hooks
from ..models.errors import OutboxError
from .contract import WhenFull
from .journal import Journal
from .journal_files import JournalFiles
from .journal_records import Record
from .losses import LOG_EVERY, Losses
from .store_contract import MAX_BATCH, Batch, Operation, Outcome, Store
from .take_over import store_abandoned

logger = logging.getLogger(__name__)

GATHER_FOR = 0.05
"""Seconds that appended events wait for further ones, in a journal that outlives the
process.

A commit costs as much for one event as for fifty, and a thread that wakes for each of
them takes the interpreter's lock from the event loop."""

GATHER_IN_MEMORY_FOR = 0.005
"""The same for events that are lost if the process is killed."""

TRY_AGAIN_AFTER = 1.0
"""Seconds before a store that failed is tried again."""

LAST_PAUSE = 0.1
"""Seconds between two tries of a closing writer."""

LOOK_EVERY = 5.0
"""Seconds between two searches for journals of ended processes."""

EXIT_TIMEOUT = 5.0
"""Seconds that the interpreter's exit waits for an open outbox."""


class _Life:
    """The state of one writer thread, from its start to its close."""

    def __init__(self, journal: Journal, store: Store) -> None:
        self.journal = journal
        self.store = store
        self.operations: deque[Operation] = deque()
        self.wakeups: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.is_woken = False
        self.failing = False
        self.closing = False
        self.look_at = 0.0
        self.thread: threading.Thread | None = None

    def wake(self) -> None:
        """Wake the thread for more records; the caller holds the lock."""
        if not self.is_woken:
            self.is_woken = True
            self.wakeups.put(None)

    def hurry(self) -> None:
        """Wake the thread at once, also while it gathers records."""
        self.is_woken = True
        self.wakeups.put(None)

    def gather(self) -> None:
        """Let further records arrive, unless something is to be done at once."""
        if self.journal and not (self.operations or self.closing):
            most = GATHER_FOR if self.journal.outlives else GATHER_IN_MEMORY_FOR
            with suppress(queue.Empty):
                self.wakeups.get(timeout=most)


class BatchWriter:
    """Runs a store on a thread of its own, which starts when it is first needed.

    Args:
        name: The outbox's name in logs.
        new_store: Returns a store, without opening it.
        files: The journals; None keeps appended events in memory, and they are lost if
            the process is killed.
        max_events: The most events that wait in a journal.
        syncs: Whether a journal is written to the disk while the store fails.
        when_full: Whether new events are refused or the oldest dropped when too many
            events wait.
        losses: Counts these events.
    """

    def __init__(
        self,
        name: str,
        *,
        new_store: Callable[[], Store],
        files: JournalFiles | None,
        max_events: int,
        when_full: WhenFull,
        syncs: bool,
        losses: Losses,
    ) -> None:
        self._name = name
        self._new_store = new_store
        self._files = files
        self._max_events = max_events
        # Half of the events at most are being stored: the others can be dropped.
        self._max_batch = min(MAX_BATCH, max(1, max_events // 2))
        self._when_full = when_full
        self._syncs = syncs
        self._losses = losses
        self.forget()
        _writers.add(self)

    def forget(self) -> None:
        """Begin anew. In a fork, thread, store and unsaved events are the parent's."""
        self._lock = threading.Lock()
        self._without_thread = threading.Lock()
        self._life: _Life | None = None
        self._logged_at = float("-inf")
        self._logged = False
        self._losses.forget()

    @property
    def unsaved(self) -> int:
        """How many events are not stored yet."""
        life = self._life
        return life.journal.unsaved if life is not None else 0

    # --- any thread --------------------------------------------------------

    def append(self, body: bytes, count: int) -> None:
        """Append events to be stored; if too many wait, count a loss.

        Args:
            body: The events, in the store's form.
            count: The number of events.
        """
        if not _guard[0]:
            _forget_all()
        with self._lock:
            life = self._life or self._begin()
            taken = life.journal.append(body, count)
            # A store that failed is tried again by the clock, not for each event.
            if not (life.is_woken or life.failing):
                life.is_woken = True
                life.wakeups.put(None)
        if not taken or life.thread is None:
            self._append_slowly(life, body, count, taken=taken)

    def _append_slowly(
        self, life: _Life, body: bytes, count: int, *, taken: bool
    ) -> None:
        """Append if too many events wait, or if no thread could be started."""
        dropped = 0
        journal = life.journal
        with self._lock:
            reason = "outbox_full" if journal.is_full else "memory_full"
            while journal and not taken and self._when_full == "drop_oldest":
                dropped += (gone := journal.drop_oldest())
                if not gone:
                    break
                taken = journal.append(body, count)
        if dropped:
            self._losses.add("dropped", dropped, reason)
        if not taken:
            self._losses.add("refused", count, reason)
        elif life.thread is None:
            # The interpreter is ending, or the system has no more threads.
            self._do_here(life)

    def ask(self, operation: Operation) -> None:
        """Run an operation on the thread, after all earlier appends."""
        if not _guard[0]:
            _forget_all()
        with self._lock:
            life = self._life or self._begin()
            life.operations.append(operation)
            life.hurry()
        if life.thread is None:
            self._do_here(life)

    def close(self, timeout: float) -> None:
        """Finish all work and close the store, within ``timeout`` seconds.

        Events that are not stored by then are counted as lost. Later calls start anew.
        """
        with self._lock:
            life, self._life = self._life, None
            if life is None:
                return
            # The rest of the time is for the log lines.
            life.store.deadline = time.monotonic() + timeout * 0.9
            life.closing = True
            life.hurry()
        if life.thread is None:
            with self._without_thread:
                self._work(life)
        else:
            life.thread.join(timeout)
            self._give_up(life)

    def _do_here(self, life: _Life) -> None:
        """Do the thread's work on the caller's thread, if it could not be started."""
        with self._without_thread:
            while life.journal or life.operations:
                self._turn(life)
                if life.failing:
                    break

    def _begin(self) -> _Life:
        """Start a thread; the caller holds the lock."""
        if self._files is None:
            journal = Journal(token_hex(8), self._max_events)
        else:
            journal = self._files.new(self._max_events)
        life = self._life = _Life(journal, self._new_store())
        # A daemon: a script's end does not wait for it, but closes the writer.
        thread = threading.Thread(
            target=self._work, args=(life,), name="moe-outbox", daemon=True
        )
        with suppress(RuntimeError):
            thread.start()
            life.thread = thread
        return life

    def _give_up(self, life: _Life, lost: int = 0) -> None:
        """Count the events as lost that end with this process; fail open operations."""
        with self._lock:
            operations = list(life.operations)
            life.operations.clear()
            # Events in a file are not lost: another process stores them.
            lost += life.journal.give_up()
        for one in operations:
            one.settle(OutboxError(f"{self._name}: closed"))
        if lost:
            self._losses.add("lost", lost, "outbox_unwritable")

    # --- the thread --------------------------------------------------------

    def _work(self, life: _Life) -> None:
        while True:
            with suppress(queue.Empty):
                life.wakeups.get(timeout=_pause(life))
            life.gather()
            self._turn(life)
            with self._lock:
                if life.closing and _is_done(life):
                    break
        self._give_up(life, lost=life.store.close())
        with self._lock:
            left = life.journal.close()
        if left:
            logger.warning(
                "events_left count=%d outbox=%s: they could not be stored and stand in "
                "the journal; the next process on this outbox stores them",
                left,
                self._name,
            )

    def _turn(self, life: _Life) -> None:
        """Store a batch, then run the operations."""
        self._take_over(life)
        records, operations, later = self._take(life)
        journal = life.journal
        if journal.missed:
            missed, journal.missed = journal.missed, 0
            self._losses.add("lost", missed, "journal_cut")
        if life.failing:
            # Reads do not wait for a write that may fail again.
            for one in [one for one in operations if one.reads]:
                self._settle(life, [one], life.store.do(None, [one]).results)
            operations = [one for one in operations if not one.reads]
        if not (records or operations):
            with self._lock:
                life.failing = False
                life.operations.extendleft(reversed(later))
                if journal or life.operations:
                    life.wake()
            return
        batch = Batch(journal.name, records) if records else None
        outcome = life.store.do(batch, operations)
        unsaved = outcome.error if outcome.saved < len(records) else None
        with self._lock:
            journal.settle(outcome.saved)
            life.failing = outcome.error is not None
            if unsaved is None:
                life.operations.extendleft(reversed(later))
                later = []
            if (journal or life.operations) and not life.failing:
                life.wake()
        if unsaved is not None and self._syncs:
            journal.sync()
        wrote = bool(records) or any(not one.reads for one in operations)
        self._note(life, outcome, wrote=wrote)
        results = [
            unsaved if unsaved and one.after_saving else result
            for one, result in zip(operations, outcome.results, strict=True)
        ]
        self._settle(life, operations, results)
        self._settle(life, later, [unsaved] * len(later))

    def _take_over(self, life: _Life) -> None:
        """Store the events in journals of ended processes."""
        now = time.monotonic()
        if self._files is None or life.failing or life.closing or now < life.look_at:
            return
        life.look_at = now + LOOK_EVERY
        store_abandoned(
            self._files,
            life.store,
            note=lambda outcome: self._note(life, outcome),
            outbox=self._name,
        )

    def _take(
        self, life: _Life
    ) -> tuple[list[Record], list[Operation], list[Operation]]:
        """Take a batch, the operations, and those that other events come before."""
        with self._lock:
            life.is_woken = False
            records = life.journal.take(self._max_batch, life.store.batch_bytes)
            # While the store is full, acks can still run, which make room.
            if life.journal and not life.failing:
                return records, [], []
            operations = [one for one in life.operations if not one.done.cancelled()]
            life.operations.clear()
            later: list[Operation] = []
            if life.journal:
                # Some of the events appended before these were not tried yet.
                later = [one for one in operations if one.after_saving]
                operations = [one for one in operations if not one.after_saving]
            return records, operations, later

    def _settle(
        self, life: _Life, operations: Sequence[Operation], results: Sequence[Any]
    ) -> None:
        undone = [
            one.settle(result) for one, result in zip(operations, results, strict=True)
        ]
        with self._lock:
            for operation in filter(None, undone):
                life.operations.append(operation)
                life.wake()

    def _note(self, life: _Life, outcome: Outcome, *, wrote: bool = True) -> None:
        """Count losses; log an outage once a minute, and its end by what is written."""
        if outcome.refused:
            self._losses.add("refused", outcome.refused, "outbox_full")
        if outcome.dropped:
            self._losses.add("dropped", outcome.dropped, "outbox_full")
        if outcome.error is None:
            if self._logged and wrote:
                self._logged = False
                logger.warning("outbox_recovered outbox=%s", self._name)
        elif time.monotonic() - self._logged_at >= LOG_EVERY:
            # The end of an outage is logged only if its beginning was.
            self._logged_at, self._logged = time.monotonic(), True
            life.store.log_failure(outcome.error, life.journal.unsaved)


def _pause(life: _Life) -> float | None:
    """Return the seconds that a thread waits for work; None for no limit."""
    if not life.failing:
        return None
    if not life.closing:
        return TRY_AGAIN_AFTER
    return min(max(0.0, life.store.deadline - time.monotonic()), LAST_PAUSE)


def _is_done(life: _Life) -> bool:
    """Whether a closing thread is done; the caller holds the lock."""
    if life.failing:
        return not life.store.comes_back or time.monotonic() >= life.store.deadline
    return not (life.operations or life.journal)


_writers: WeakSet[BatchWriter] = WeakSet()


_left_to_parents: list[_Life] = []
"""The states that a child has inherited. They are never closed: closing a SQLite file
would release the parent's locks."""


WIPE_ON_FORK = 18
"""Linux's MADV_WIPEONFORK: such memory is zero in a child."""


def _new_guard() -> mmap.mmap | bytearray:
    """Return memory with the first byte 1, which is 0 in a child if the system can."""
    try:
        guard = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANON)
        guard.madvise(WIPE_ON_FORK)
    except (AttributeError, OSError, ValueError):
        return bytearray(b"\1")
    guard[0] = 1
    return guard


_guard = _new_guard()
"""Detects forks that call no hook, as uWSGI's, without a system call."""


def _forget_all() -> None:
    _guard[0] = 1
    for writer in list(_writers):
        if (life := writer._life) is not None:
            life.journal.leave_to_parent()
            _left_to_parents.append(life)
        writer.forget()


register_fork_hooks(after_in_child=_forget_all)


@atexit.register
def _close_all() -> None:
    """Store the events of scripts that do not close their outbox."""
    for writer in list(_writers):
        writer.close(EXIT_TIMEOUT)
