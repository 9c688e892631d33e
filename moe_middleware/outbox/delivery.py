"""Delivers an outbox's events in rounds: claims, concurrent reports, verdicts."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from asyncio import FIRST_COMPLETED, Task
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import KW_ONLY, dataclass, field
from secrets import token_hex
from typing import Any, assert_never

from ..models.errors import AuthenticationError
from ..models.events import Event
from ..models.observers import Observer
from . import Claim, Outbox
from .batches import Backlog
from .contract import EventId
from .losses import observe
from .relay_state import RelayState
from .retry_verdicts import (
    DAY,
    Ack,
    Bury,
    Halve,
    Retry,
    Verdict,
    judge,
    old_age,
    too_old,
)

logger = logging.getLogger(__name__)

CLAIM_LIMIT = 1_000
"""The most events of one claim: about ten reports."""

CLAIM_AT = CLAIM_LIMIT // 2
"""With so few claimed events left the next are claimed, so that no report waits."""

PROBE_LIMIT = 100
"""The most events of one claim while reports fail, as only one is tried."""

EXTEND_AFTER = 1 / 3
"""The share of a lease after which it is extended, while the round runs."""

GIVE_BACK_FOR = 0.5
"""Seconds that releasing claims may take at the end; without it, the leases expire."""

Report = Callable[[Sequence[Event]], Awaitable[None]]


@dataclass(eq=False)
class Deliverer:
    """Delivers an outbox's events, round by round.

    Args:
        outbox: The outbox.
        report: Reports events or raises, with a timeout of its own, as
            ``MoEngageClient.report`` does.
        parallel: The number of concurrent reports.
        lease_for: Seconds of a lease.
        max_age: The most seconds between an event and a further try.
        observer: Receives the counts of delivered, retried and buried events.
        clock: The time, in unix seconds.
        stopwatch: A clock that never jumps, in seconds.
        jitter: Returns a random number from 0 to 1.

    Attributes:
        state: What was delivered, and the failures of the last reports.
    """

    outbox: Outbox
    report: Report
    _: KW_ONLY
    parallel: int = 8
    lease_for: float = 30.0
    max_age: float = 7 * DAY
    observer: Observer = field(default_factory=Observer)
    clock: Callable[[], float] = time.time
    stopwatch: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        self.state = RelayState()
        self._began_at = self.clock() - self.stopwatch()
        self._is_stopped = False
        self._give_back_for = GIVE_BACK_FOR

    def stop(self) -> None:
        """Start no further reports, except in rounds that ignore it."""
        self._is_stopped = True

    async def deliver(
        self, *, to_the_end: bool = False, heeds_stop: bool = True
    ) -> float:
        """Deliver claimable events until a report fails: one round.

        Args:
            to_the_end: Whether to claim again until no event is claimable; otherwise
                the last few events wait for further ones.
            heeds_stop: Whether ``stop`` ends it.

        Returns:
            Seconds to wait before the next round; 0.0 without a failure.
        """
        round = _Round(to_the_end=to_the_end, heeds_stop=heeds_stop)
        try:
            await self._empty(round)
        finally:
            await self._give_back(round)
        return round.pause

    async def _empty(self, round: _Round) -> None:
        """Run reports and claims until there is nothing more to do."""
        extend_after = self.lease_for * EXTEND_AFTER
        extend_at = time.monotonic() + extend_after
        while True:
            self._begin(round)
            tasks = round.tasks
            if not tasks:
                break
            left = max(0.0, extend_at - time.monotonic())
            await asyncio.wait(tasks, timeout=left, return_when=FIRST_COMPLETED)
            round.collect()
            if time.monotonic() >= extend_at:
                extend_at += extend_after
                round.begin_chore(self._extend(round))
        if round.error is not None:
            raise round.error

    def _begin(self, round: _Round) -> None:
        """Start the reports and the claim that may run now."""
        # While reports fail, one tries for all: the others would fail, too.
        at_once = 1 if self.state.failures else self.parallel
        while len(round.reports) < at_once and not self._over(round):
            batch = round.backlog.next_batch()
            if not batch:
                break
            round.reports.add(asyncio.create_task(self._deliver_batch(round, batch)))
        low = not round.open if self.state.failures else len(round.backlog) <= CLAIM_AT
        if low and round.more and not round.claiming and not self._over(round):
            round.claiming = True
            round.begin_chore(self._claim(round))

    def _over(self, round: _Round) -> bool:
        """Whether a round may start no further report or claim."""
        stopped = round.heeds_stop and self._is_stopped
        return bool(round.pause or round.error or stopped)

    async def _claim(self, round: _Round) -> None:
        limit = PROBE_LIMIT if self.state.failures else CLAIM_LIMIT
        try:
            claims = await self.outbox.claim(
                limit=limit, lease_for=self.lease_for, relay=round.name
            )
        finally:
            round.claiming = False
        round.open.update(claim.id for claim in claims)
        round.more = len(claims) > (0 if round.to_the_end else limit // 2)
        round.backlog.add(await self._without_old(round, claims))

    async def _without_old(
        self, round: _Round, claims: Sequence[Claim]
    ) -> Sequence[Claim]:
        """While reports fail, bury the events that are too old; return the others."""
        if not self.state.failures:
            return claims
        # If the clock jumps ahead, no event becomes old by it: the stopwatch counts.
        now = min(self.clock(), self._began_at + self.stopwatch())
        max_age = self.max_age
        old = [
            claim
            for claim in claims
            if too_old(claim.event.occurred_at, claim.attempts, now, max_age)
        ]
        if not old:
            return claims
        await self._bury(round, old, old_age(max_age, self.state.error))
        return [claim for claim in claims if claim.id in round.open]

    async def _extend(self, round: _Round) -> None:
        if round.open:
            await self.outbox.extend(list(round.open), lease_for=self.lease_for)

    async def _deliver_batch(self, round: _Round, batch: Sequence[Claim]) -> None:
        try:
            await self._settle(round, batch)
        finally:
            round.backlog.finished(batch)

    async def _settle(
        self, round: _Round, claims: Sequence[Claim], *, one_is_wrong: bool = False
    ) -> bool:
        """Report claims, carry out the verdict; return whether all were delivered."""
        if self._over(round):
            return False
        error: Exception | None = None
        verdict: Verdict = Halve(one_is_wrong=True)
        if len(claims) == 1 or not one_is_wrong:
            try:
                await self.report([claim.event for claim in claims])
            except Exception as failure:
                error = failure
            verdict = judge(
                error,
                events=len(claims),
                failures=self.state.failures + (0 if round.pause else 1),
                jitter=self.jitter(),
            )
        match verdict:
            case Ack():
                self._note_delivered(round, claims)
                return True
            case Retry(delay):
                if not round.pause and error is not None:
                    self.state.go_on(
                        error, events=len(claims), pause=delay, now=self.clock()
                    )
                round.pause = max(round.pause, delay)
                # Another relay may have a valid key, and must not wait.
                if not isinstance(error, AuthenticationError):
                    round.held_for = round.pause
                observe(self.observer, "retried", len(claims))
            case Halve(one_is_wrong):
                middle = len(claims) // 2
                delivered = await self._settle(round, claims[:middle])
                one_is_wrong = one_is_wrong and delivered
                rest = claims[middle:]
                delivered &= await self._settle(round, rest, one_is_wrong=one_is_wrong)
                return delivered
            case Bury(reason):
                await self._bury(round, claims, reason)
            case _:
                assert_never(verdict)
        return False

    def _note_delivered(self, round: _Round, claims: Sequence[Claim]) -> None:
        if not round.pause:
            self.state.end()
        round.delivered.update(claim.id for claim in claims)
        if not round.acking:
            round.acking = True
            round.begin_chore(self._ack(round))

    async def _ack(self, round: _Round) -> None:
        """Ack delivered events, also those delivered meanwhile."""
        try:
            # In one transaction for all reports that arrive while the last ack runs.
            while ids := list(round.delivered):
                await self.outbox.ack(ids)
                round.delivered.difference_update(ids)
                round.open.difference_update(ids)
                self.state.delivered += len(ids)
                self.state.delivered_at = self.clock()
                observe(self.observer, "delivered", len(ids))
        finally:
            round.acking = False

    async def _bury(self, round: _Round, claims: Sequence[Claim], reason: str) -> None:
        ids = [claim.id for claim in claims]
        await self.outbox.bury(ids, reason=reason)
        round.open.difference_update(ids)
        round.buried += len(ids)
        observe(self.observer, "buried", len(ids))

    async def _give_back(self, round: _Round) -> None:
        """End the reports, and release the claims that are left."""
        for report in round.reports:
            report.cancel()
        try:
            async with asyncio.timeout(self._give_back_for):
                # A cancelled claim or ack may be carried out in the store.
                while tasks := round.tasks:
                    await asyncio.wait(tasks)
                    round.collect()
                # An ack that failed before may succeed now.
                await self._ack(round)
                if round.open:
                    await self.outbox.retry(list(round.open), delay=round.held_for)
        except Exception as error:
            logger.warning("give_back_failed error=%s", type(error).__name__)
        finally:
            for chore in round.chores:
                chore.cancel()
        if round.buried:
            logger.error(
                "events_buried count=%d: 'moe-middleware outbox' shows why and replays",
                round.buried,
            )


@dataclass(slots=True)
class _Round:
    """The state of one round."""

    to_the_end: bool
    heeds_stop: bool = True
    # Each round has its own: events that an earlier one could not release keep later
    # ones of their customers from this round.
    name: str = field(default_factory=lambda: token_hex(8))
    backlog: Backlog = field(default_factory=Backlog)
    # Claims that are neither acked nor buried, and those of them to be acked.
    open: set[EventId] = field(default_factory=set)
    delivered: set[EventId] = field(default_factory=set)
    reports: set[Task[None]] = field(default_factory=set)
    # Claims, acks and extensions.
    chores: set[Task[None]] = field(default_factory=set)
    claiming: bool = False
    acking: bool = False
    more: bool = True
    # Seconds until this relay's next round, and until any relay may claim its events.
    pause: float = 0.0
    held_for: float = 0.0
    error: BaseException | None = None
    buried: int = 0

    @property
    def tasks(self) -> set[Task[None]]:
        """All running tasks."""
        return self.reports | self.chores

    def begin_chore(self, work: Coroutine[Any, Any, None]) -> None:
        self.chores.add(asyncio.create_task(work))

    def collect(self) -> None:
        """Remove the tasks that are done; keep the first error of one."""
        for tasks in (self.reports, self.chores):
            for task in [task for task in tasks if task.done()]:
                tasks.remove(task)
                if not task.cancelled():
                    self.error = self.error or task.exception()
