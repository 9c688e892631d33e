"""What an outbox promises, whatever it is kept in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

from ..models.events import Event
from .encoding import decode

EventId = int | str
"""The outbox's own name of an event, the same from its append to its end, and never
given again. Opaque: a number for one kind of outbox, text for another. Its text is
taken for it wherever ids are given, as on the command line."""

Kind = Literal["waiting", "dead"]
"""What an outbox holds: events to be delivered, and dead letters."""

WhenFull = Literal["refuse", "drop_oldest"]
"""Who gives way in a full outbox: the newest event or the oldest."""

MAX_EVENTS = 2_000_000
"""How many events wait at most, by default."""

MAX_UNSAVED = 100_000
"""Events that wait in a process while the store cannot be written."""

MAX_UNSAVED_BYTES = 64_000_000
"""Their size together."""

UNREADABLE = "unreadable"
"""The reason of a dead letter whose body is no event; the body is kept as it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """An event leased to one relay.

    Attributes:
        id: The outbox's own name of it.
        event: What happened.
        attempts: How often it has been claimed, this time included.
    """

    id: EventId
    event: Event
    attempts: int


@dataclass(frozen=True, kw_only=True)
class WaitingEvent:
    """An event that is not yet delivered, as it is kept.

    Attributes:
        id: The outbox's own name of it.
        body: The event as it is stored: JSON, where it is readable.
        attempts: How often it has been claimed.
        claimable_at: When it may be claimed (again), in unix seconds; 0 for at once.
    """

    id: EventId
    body: bytes
    attempts: int = 0
    claimable_at: float = 0.0

    @cached_property
    def event(self) -> Event | None:
        """What happened; None where the body cannot be read."""
        return decode(self.body)


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """An event that was given up, and why.

    Attributes:
        id: The outbox's own name of it, the one it had while it waited.
        body: The event as it is stored: JSON, where it is readable.
        reason: Why it was given up, as in ``400 Invalid Field Value``.
        attempts: How often it has been claimed.
        buried_at: When it was given up, in unix seconds.
    """

    id: EventId
    body: bytes
    reason: str
    attempts: int = 0
    buried_at: float = 0.0

    @cached_property
    def event(self) -> Event | None:
        """What happened; None where the body cannot be read."""
        return decode(self.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many events an outbox holds, and how many it turned away. Cheap to ask for.

    Attributes:
        waiting: Stored and not yet delivered, leased ones included.
        dead: Given up, kept as dead letters.
        unsaved: Appended by this process and not yet stored.
        refused: Turned away by this process because the outbox was full.
        dropped: The oldest, given up by this process for newer ones.
        lost: Appended by this process, and not stored when it closed.
    """

    waiting: int
    dead: int
    unsaved: int = 0
    refused: int = 0
    dropped: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether an outbox can do its work, for a readiness probe.

    Attributes:
        writable: Whether the store takes events now.
        unsaved: Events of this process that wait for it.
        problem: What is wrong, in words for a person; None where nothing is.
    """

    writable: bool
    unsaved: int = 0
    problem: str | None = None


class Outbox(Protocol):
    """Keeps events until MoEngage has them.

    Claiming leases and acking deletes; the claims of a relay that died run out by
    themselves. Any number of relays, in any number of processes, work on one outbox.

    Order: a customer's events are claimed in the order in which they were appended.
    No event is claimed while an earlier one of its customer is leased to another relay
    or waits for its retry. What one relay holds at a time may be several of a
    customer's events, and to keep their order is its own task. An event that was
    replayed or restored is the customer's newest.

    At least once: a relay may have to deliver an event again, because a
    lease ran out or an answer was lost. Its uuid stays the same through all of it,
    replay and restore included, and MoEngage counts a uuid once.

    What fails raises ``OutboxError``, but for ``append``, ``health`` and ``close``.
    An id that is gone (acked, purged, claimed by another since) is passed over.
    """

    # --- what happens to an event ------------------------------------------

    def append(self, events: Sequence[Event]) -> None:
        """Take events over, at once, on any thread, without waiting for the store.

        With a journal they survive the death of this process from here on, however
        it dies; without one, once they are stored, which is a matter of milliseconds.
        ``flush`` waits for that. While the store fails they wait, at most
        ``MAX_UNSAVED`` of them. What does not fit, there or in the store, is refused,
        or takes the place of the oldest; it is counted, logged and reported to the
        observer, and never raised.

        Raises:
            TypeError: An event holds what JSON cannot; none of them is taken.
        """
        ...

    def append_encoded(self, customer_id: str, bodies: Sequence[bytes]) -> None:
        """Take events of one customer over that are encoded already, as ``append``."""
        ...

    async def claim(
        self, *, limit: int, lease_for: float, relay: str = ""
    ) -> list[Claim]:
        """Lease the oldest events that are due; oldest first.

        It may return fewer than wait, even none, while earlier events of the same
        customers are held: after an ack there may be more. An event whose body cannot
        be read is buried as ``UNREADABLE`` instead.

        Args:
            limit: How many at most.
            lease_for: How long they are this relay's alone, in seconds.
            relay: A name of the relay's own. What it holds under this name does not
                keep later events of the same customers from it; without a name, it
                does.
        """
        ...

    async def extend(self, ids: Sequence[EventId], *, lease_for: float) -> None:
        """Keep claimed events for ``lease_for`` more seconds from now."""
        ...

    async def ack(self, ids: Sequence[EventId]) -> None:
        """Forget events that were delivered."""
        ...

    async def retry(self, ids: Sequence[EventId], *, delay: float) -> None:
        """Give claimed events back, to be claimed again after ``delay`` seconds.

        Until then no relay claims them; later events of their customers wait too.
        """
        ...

    async def bury(self, ids: Sequence[EventId], *, reason: str) -> None:
        """Set events aside as dead letters; later ones of their customers go on."""
        ...

    async def flush(self) -> None:
        """Wait until everything appended so far is safe."""
        ...

    def close(self, *, timeout: float = 5.0) -> None:
        """Make everything safe and let go; a later ``append`` opens it again.

        Takes ``timeout`` seconds at most. Events that cannot be stored are then
        counted and logged as lost. Never raises.
        """
        ...

    # --- what processes note of themselves ---------------------------------

    async def note(self, name: str, note: bytes) -> None:
        """Keep a process's note, in place of its last one; an empty one deletes it."""
        ...

    async def replace_notes(
        self, expected: Mapping[str, bytes], new: Mapping[str, bytes]
    ) -> bool:
        """Keep these notes if others are as expected, all in one step; say whether.

        An empty note stands for none, in both.
        """
        ...

    async def notes(self) -> dict[str, bytes]:
        """Return all notes by their names, those of processes long gone included."""
        ...

    # --- to see and to steer -----------------------------------------------

    async def count(self) -> Counts:
        """Count what is held; takes no longer for a million events than for one."""
        ...

    async def health(self, *, timeout: float = 1.0) -> Health:
        """Say whether the store can be written, within ``timeout`` seconds.

        Never raises but for cancellation.
        """
        ...

    async def waiting(
        self, *, limit: int = 100, after: EventId | None = None
    ) -> list[WaitingEvent]:
        """Return waiting events, oldest first; page by page through ``after``.

        Args:
            limit: How many at most.
            after: The last id of the page before.
        """
        ...

    async def dead_letters(
        self, *, limit: int = 100, after: EventId | None = None
    ) -> list[DeadLetter]:
        """Return dead letters, newest first; page by page through ``after``.

        Args:
            limit: How many at most.
            after: The last id of the page before.
        """
        ...

    async def find(self, id: EventId) -> WaitingEvent | DeadLetter | None:
        """Return what has this id, waiting or dead."""
        ...

    async def replay(
        self, *, ids: Sequence[EventId] | None = None, limit: int | None = None
    ) -> int:
        """Let dead letters be delivered again, with their uuids; return how many.

        They become the newest events and get new ids, and none of them is refused
        for want of room.

        Args:
            ids: Which of them; all by default.
            limit: How many at most, oldest first, for progress on long work.
        """
        ...

    async def purge(
        self,
        kind: Kind,
        *,
        ids: Sequence[EventId] | None = None,
        limit: int | None = None,
    ) -> int:
        """Delete what waits or is dead, undelivered and for good; return how many.

        Args:
            kind: ``waiting`` or ``dead``.
            ids: Which of them; all by default.
            limit: How many at most, oldest first, for progress on long work.
        """
        ...

    async def restore(self, kept: Sequence[WaitingEvent | DeadLetter]) -> None:
        """Take in what another outbox held, waiting or dead; safe on return.

        Bodies are kept as they are. Ids, attempts and leases are begun anew, and
        nothing is refused for want of room.
        """
        ...
