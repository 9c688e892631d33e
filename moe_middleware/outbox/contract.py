"""The contract of an outbox, for every kind of store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, Protocol

from ..models.events import Event
from .encoding import decode

EventId = int | str
"""An outbox's id of an event, which never changes and is never used again. It is
opaque: a number in some outboxes, text in others. Every method also takes its text, as
the command line has it."""

Kind = Literal["waiting", "dead"]
"""The kinds of entries in an outbox: events to be delivered, and dead letters."""

WhenFull = Literal["refuse", "drop_oldest"]
"""Which event a full outbox loses: the new one (``refuse``), or the oldest."""

Synchronous = Literal["normal", "full"]
"""Whether events survive the death of their process alone, or the machine's, too."""

MAX_EVENTS = 2_000_000
"""The default limit of waiting events."""

UNREADABLE = "unreadable"
"""The reason of a dead letter whose body cannot be decoded; it is kept unchanged."""


class Claim(NamedTuple):
    """An event leased to one relay.

    Attributes:
        id: Its id in the outbox.
        event: The event.
        attempts: How often it has been claimed, including this claim.
    """

    id: EventId
    event: Event
    attempts: int


@dataclass(frozen=True, kw_only=True)
class WaitingEvent:
    """A stored event that is not yet delivered.

    Attributes:
        id: Its id in the outbox.
        body: The stored event: JSON, if it is readable.
        attempts: How often it has been claimed.
        claimable_at: When it may be claimed, in unix seconds; 0 for now.
    """

    id: EventId
    body: bytes
    attempts: int = 0
    claimable_at: float = 0.0

    @cached_property
    def event(self) -> Event | None:
        """The event; None if the body cannot be read."""
        return decode(self.body)


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """An event that will not be delivered, with the reason.

    Attributes:
        id: Its id in the outbox, unchanged.
        body: The stored event: JSON, if it is readable.
        reason: Why it was buried, as in ``400 Invalid Field Value``.
        attempts: How often it has been claimed.
        buried_at: When it was buried, in unix seconds.
    """

    id: EventId
    body: bytes
    reason: str
    attempts: int = 0
    buried_at: float = 0.0

    @cached_property
    def event(self) -> Event | None:
        """The event; None if the body cannot be read."""
        return decode(self.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many events an outbox holds, and how many it lost.

    Attributes:
        waiting: Stored and not yet delivered, including leased ones.
        dead: Dead letters.
        unsaved: Appended by this process and not yet stored.
        refused: Refused by this process because the outbox was full.
        dropped: The oldest ones, dropped by this process for newer ones.
        lost: Appended by this process, and not stored when the outbox was closed.
    """

    waiting: int
    dead: int
    unsaved: int = 0
    refused: int = 0
    dropped: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether an outbox works, for a readiness probe.

    Attributes:
        writable: Whether the store can be written now.
        unsaved: Events of this process that are not yet stored.
        problem: The problem, for people to read; None without one.
    """

    writable: bool
    unsaved: int = 0
    problem: str | None = None


class Outbox(Protocol):
    """Stores events until MoEngage has them.

    A claim leases events and an ack deletes them; the leases of a relay that died
    expire. Any number of relays, in any number of processes, may use one outbox.

    Order: a customer's events are claimed in the order in which they were appended.
    An event is not claimed while an earlier one of its customer is leased to another
    relay or waits for its retry. One relay may hold several events of a customer, and
    must keep their order itself. A replayed or restored event is its customer's newest.

    At least once: an event may be delivered again, because a lease expired or a
    response was lost. Its uuid never changes, not even by replay or restore, and
    MoEngage counts each uuid once.

    All methods but ``append``, ``health`` and ``close`` raise ``OutboxError`` if they
    fail. Ids that are gone (acked, purged, claimed by another relay) are ignored.
    """

    # --- an event's life ---------------------------------------------------

    def append(self, events: Sequence[Event]) -> None:
        """Append events, on any thread, without waiting for the store.

        With a journal they survive any end of this process from now on; without one,
        as soon as they are stored, which takes milliseconds (``flush`` waits for it).
        While the store fails, as many events of each process wait as the outbox takes.
        Beyond this limit new events are refused or the oldest are dropped: this is
        counted, logged and reported to the observer, and never raised.

        Raises:
            TypeError: An event is no JSON; then none of them is appended.
        """

    def append_encoded(self, customer_id: str, bodies: Sequence[bytes]) -> None:
        """Append encoded events of one customer; see ``append``."""

    async def claim(
        self, *, limit: int, lease_for: float, relay: str = ""
    ) -> list[Claim]:
        """Lease the oldest claimable events; oldest first.

        It may return fewer events than are waiting, or none, while earlier events of
        the same customers are leased: there may be more after an ack. An event that
        cannot be decoded is buried as ``UNREADABLE``.

        Args:
            limit: The most events.
            lease_for: Seconds until other relays may claim them.
            relay: A unique name of the relay. Its own leases do not keep it from
                claiming later events of the same customers; without a name they do.
        """

    async def extend(self, ids: Sequence[EventId], *, lease_for: float) -> None:
        """Extend the lease of claimed events to ``lease_for`` seconds from now."""

    async def ack(self, ids: Sequence[EventId]) -> None:
        """Delete delivered events."""

    async def retry(self, ids: Sequence[EventId], *, delay: float) -> None:
        """Release claimed events, to be claimed again after ``delay`` seconds.

        Later events of their customers wait, too.
        """

    async def bury(self, ids: Sequence[EventId], *, reason: str) -> None:
        """Turn events into dead letters; later events of their customers go on."""

    async def flush(self) -> None:
        """Wait until all events appended so far are stored."""

    def close(self, *, timeout: float = 5.0) -> None:
        """Store all events and close the store; a later ``append`` opens it again.

        It takes ``timeout`` seconds at most; events that could not be stored by then
        are counted and logged as lost. It never raises.
        """

    # --- notes of processes ------------------------------------------------

    async def note(self, name: str, note: bytes) -> None:
        """Store a process's note in place of its last one; an empty one deletes it."""

    async def replace_notes(
        self, expected: Mapping[str, bytes], new: Mapping[str, bytes]
    ) -> bool:
        """Store ``new`` notes if the ``expected`` ones are stored; return whether.

        It is atomic. In both, an empty note means that there is none.
        """

    async def notes(self) -> dict[str, bytes]:
        """Return all notes by name, also those of ended processes."""

    # --- status and repair -------------------------------------------------

    async def count(self) -> Counts:
        """Count the entries, in constant time."""

    async def health(self, *, timeout: float = 1.0) -> Health:
        """Return whether the store can be written, within ``timeout`` seconds.

        It raises nothing but CancelledError.
        """

    async def waiting(
        self, *, limit: int = 100, after: EventId | None = None
    ) -> list[WaitingEvent]:
        """Return one page of the waiting events, oldest first.

        Args:
            limit: The most events.
            after: The last id of the previous page.
        """

    async def dead_letters(
        self, *, limit: int = 100, after: EventId | None = None
    ) -> list[DeadLetter]:
        """Return one page of the dead letters, newest first.

        Args:
            limit: The most dead letters.
            after: The last id of the previous page.
        """

    async def find(self, id: EventId) -> WaitingEvent | DeadLetter | None:
        """Return the entry with this id, or None."""

    async def replay(
        self, *, ids: Sequence[EventId] | None = None, limit: int | None = None
    ) -> int:
        """Turn dead letters into waiting events again; return how many.

        They become the newest events, with new ids and their old uuids. A full outbox
        does not refuse them.

        Args:
            ids: Only these; all by default.
            limit: The most of them, oldest first, to show progress on long work.
        """

    async def purge(
        self,
        kind: Kind,
        *,
        ids: Sequence[EventId] | None = None,
        limit: int | None = None,
    ) -> int:
        """Delete entries for good, without delivering them; return how many.

        Args:
            kind: ``waiting`` or ``dead``.
            ids: Only these; all by default.
            limit: The most of them, oldest first, to show progress on long work.
        """

    async def restore(self, kept: Sequence[WaitingEvent | DeadLetter]) -> None:
        """Store entries of another outbox; they are stored when it returns.

        Bodies stay unchanged; ids, attempts and leases start anew. A full outbox does
        not refuse them.
        """
