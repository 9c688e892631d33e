"""Divides claimed events into reports, each customer's in order.

Pure: no I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile

from ..client.event_reports import Room
from . import Claim


class Backlog:
    """Holds claims until a report has room for them.

    While a batch is being reported, no other batch has events of its customers, so
    their order stays.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, list[Claim]] = {}
        self._under_way: set[str] = set()
        self._count = 0

    def __len__(self) -> int:
        """How many claims are in no batch yet."""
        return self._count

    def add(self, claims: Sequence[Claim]) -> None:
        """Add claims, oldest first."""
        for claim in claims:
            self._waiting.setdefault(claim.event.customer_id, []).append(claim)
        self._count += len(claims)

    def next_batch(self) -> list[Claim]:
        """Take the claims of one report; none if no customer's may be reported now.

        The batch is being reported until ``finished``.
        """
        batch: list[Claim] = []
        done: list[str] = []
        room = Room()
        for user, waiting in self._waiting.items():
            if user in self._under_way:
                continue
            fitting = list(takewhile(lambda claim: room.takes(claim.event), waiting))
            batch += fitting
            if len(fitting) < len(waiting):
                del waiting[: len(fitting)]
                break
            done.append(user)
        for user in done:
            del self._waiting[user]
        self._count -= len(batch)
        self._under_way.update(_users(batch))
        return batch

    def finished(self, batch: Sequence[Claim]) -> None:
        """Allow further events of a batch's customers."""
        self._under_way.difference_update(_users(batch))


def _users(claims: Iterable[Claim]) -> Iterator[str]:
    return (claim.event.customer_id for claim in claims)
