"""What an outbox promises, whatever it is kept in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ..models import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """An event leased to one relay.

    Attributes:
        id: The outbox's own number for it.
        event: What happened.
        attempts: How often it has been claimed, this time included.
    """

    id: int
    event: Event
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An event that was given up, and why; None where it could not be read."""

    id: int
    event: Event | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many events an outbox holds.

    Attributes:
        waiting: Not yet delivered, leased ones included.
        dead: Given up, kept as dead letters.
    """

    waiting: int
    dead: int


class Outbox(Protocol):
    """Keeps events until MoEngage has them.

    ``append`` never blocks and may be called from any thread. Claiming leases, acking
    deletes; the claims of a relay that died run out by themselves.
    """

    def append(self, events: Sequence[Event]) -> None:
        """Take events over, at once and without waiting for the disk."""
        ...

    async def claim(self, *, limit: int, lease_for: float) -> list[Claim]:
        """Lease the oldest events that are due, for ``lease_for`` seconds."""
        ...

    async def ack(self, ids: Sequence[int]) -> None:
        """Forget events that were delivered."""
        ...

    async def retry(self, ids: Sequence[int], *, delay: float) -> None:
        """Give claimed events back, to be claimed again after ``delay`` seconds."""
        ...

    async def bury(self, ids: Sequence[int], *, reason: str) -> None:
        """Set events aside as dead letters."""
        ...

    async def replay(self) -> int:
        """Let every dead letter be delivered again; return how many there were."""
        ...

    async def dead_letters(self, *, limit: int = 100) -> list[DeadLetter]:
        """Return the newest dead letters."""
        ...

    async def count(self) -> Counts:
        """Count what is held."""
        ...

    async def flush(self) -> None:
        """Wait until everything appended so far is safe."""
        ...

    def close(self) -> None:
        """Make everything safe and let go; a later ``append`` opens it again."""
        ...
