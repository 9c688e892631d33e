"""One emptying of the outbox: claims, reports several at a time, then the verdicts."""

from __future__ import annotations

import asyncio
import logging
import time
from asyncio import FIRST_COMPLETED, Task
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any, assert_never

from ..models.errors import AuthenticationError
from ..models.events import Event
from ..models.observers import Observer
from . import Claim, Outbox
from .batches import Backlog
from .contract import EventId
from .losses import tell
from .outages import Outage
from .verdicts import Ack, Bury, Halve, Retry, Verdict, judge, old_age, too_old

logger = logging.getLogger(__name__)

CLAIM_LIMIT = 1_000
"""Events claimed at once: some ten reports' worth."""

CLAIM_AT = CLAIM_LIMIT // 2
"""How few of them may be left before the next are claimed, so that no report waits."""

PROBE_LIMIT = 100
"""Events claimed at once while reports fail: no more than one report tries."""

EXTEND_AFTER = 1 / 3
"""The share of a lease after which it is extended, for as long as work is under way."""

GIVE_BACK_FOR = 0.5
"""How long giving claims back may take at the end, in seconds: they come back by
themselves when their lease ends."""

Report = Callable[[Sequence[Event]], Awaitable[None]]


class Deliverer:
    """Empties an outbox, round by round.

    Args:
        outbox: Where the events wait.
        report: Reports events or raises, within a time of its own.
        parallel: Reports under way at once.
        lease_for: How long claimed events stay claimed, in seconds.
        max_age: How long an event is tried, in seconds from when it happened.
        observer: Told what is delivered, retried and buried.
        clock: The time, in unix seconds.
        stopwatch: A clock that never jumps, in seconds.
        jitter: Returns a random number from 0 to 1.

    Attributes:
        outage: How the last reports failed.
        delivered: How many events were delivered.
        delivered_at: When the last was, in unix seconds.
        give_back_for: How long giving claims back may take, in seconds.
    """

    def __init__(
        self,
        outbox: Outbox,
        report: Report,
        *,
        parallel: int,
        lease_for: float,
        max_age: float,
        observer: Observer,
        clock: Callable[[], float],
        stopwatch: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        self._outbox = outbox
        self._report = report
        self._parallel = parallel
        self._lease_for = lease_for
        self._max_age = max_age
        self._observer = observer
        self._clock = clock
        self._stopwatch = stopwatch
        self._began_at = clock() - stopwatch()
        self._jitter = jitter
        self._is_stopped = False
        self.outage = Outage()
        self.delivered = 0
        self.delivered_at: float | None = None
        self.give_back_for = GIVE_BACK_FOR

    def stop(self) -> None:
        """Begin nothing more, but for rounds that do not heed it."""
        self._is_stopped = True

    async def deliver(self, *, to_the_end: bool, heeds_stop: bool = True) -> float:
        """Deliver what is due; return how long to wait then, in seconds.

        Args:
            to_the_end: Whether to look again until nothing is due.
            heeds_stop: Whether ``stop`` ends it.
        """
        round = _Round(to_the_end=to_the_end, heeds_stop=heeds_stop)
        try:
            await self._empty(round)
        finally:
            await self._give_back(round)
        return round.pause

    async def _empty(self, round: _Round) -> None:
        """Keep reports and the next claim under way until nothing more is to do."""
        extend_after = self._lease_for * EXTEND_AFTER
        extend_at = time.monotonic() + extend_after
        while True:
            self._begin(round)
            tasks = round.tasks
            if not tasks:
                break
            left = max(0.0, extend_at - time.monotonic())
            await asyncio.wait(tasks, timeout=left, return_when=FIRST_COMPLETED)
            round.let_go()
            if time.monotonic() >= extend_at:
                extend_at += extend_after
                round.begin_chore(self._extend(round))
        if round.error is not None:
            raise round.error

    def _begin(self, round: _Round) -> None:
        """Begin the reports and the claim that may be begun now."""
        at_once = 1 if self.outage.failures else self._parallel
        while len(round.reports) < at_once and not self._over(round):
            batch = round.backlog.next_batch()
            if not batch:
                break
            round.reports.add(asyncio.create_task(self._deliver_batch(round, batch)))
        low = not round.open if self.outage.failures else len(round.backlog) <= CLAIM_AT
        if low and round.more and not round.claiming and not self._over(round):
            round.claiming = True
            round.begin_chore(self._claim(round))

    def _over(self, round: _Round) -> bool:
        """Whether nothing more may be begun in a round."""
        stopped = round.heeds_stop and self._is_stopped
        return bool(round.pause or round.error or stopped)

    async def _claim(self, round: _Round) -> None:
        limit = PROBE_LIMIT if self.outage.failures else CLAIM_LIMIT
        try:
            claims = await self._outbox.claim(
                limit=limit, lease_for=self._lease_for, relay=round.name
            )
        finally:
            round.claiming = False
        round.open.update(claim.id for claim in claims)
        round.more = len(claims) > (0 if round.to_the_end else limit // 2)
        round.backlog.add(await self._without_old(round, claims))

    async def _without_old(
        self, round: _Round, claims: Sequence[Claim]
    ) -> Sequence[Claim]:
        """While reports fail, bury what was tried for too long; return the others."""
        if not self.outage.failures:
            return claims
        # A clock that jumps ahead makes no event old; the stopwatch does not jump.
        now = min(self._clock(), self._began_at + self._stopwatch())
        max_age = self._max_age
        old = [
            claim
            for claim in claims
            if too_old(claim.event.occurred_at, claim.attempts, now, max_age)
        ]
        if not old:
            return claims
        await self._bury(round, old, old_age(max_age, self.outage.error).reason)
        return [claim for claim in claims if claim.id in round.open]

    async def _extend(self, round: _Round) -> None:
        if round.open:
            await self._outbox.extend(list(round.open), lease_for=self._lease_for)

    async def _deliver_batch(self, round: _Round, batch: Sequence[Claim]) -> None:
        try:
            await self._settle(round, batch)
        finally:
            round.backlog.finished(batch)

    async def _settle(
        self, round: _Round, claims: Sequence[Claim], *, one_is_wrong: bool = False
    ) -> bool:
        """Report claims and do what the verdict says; tell whether all arrived."""
        if self._over(round):
            return False
        error: Exception | None = None
        verdict: Verdict = Halve(one_is_wrong=True)
        if len(claims) == 1 or not one_is_wrong:
            error = await self._reported(claims)
            verdict = judge(
                error,
                events=len(claims),
                failures=self.outage.failures + (0 if round.pause else 1),
                jitter=self._jitter(),
            )
        match verdict:
            case Ack():
                self._arrived(round, claims)
                return True
            case Retry(delay):
                if not round.pause and error is not None:
                    self.outage.go_on(
                        error, events=len(claims), pause=delay, now=self._clock()
                    )
                round.pause = max(round.pause, delay)
                # Another relay may have the right key: it need not wait for them.
                if not isinstance(error, AuthenticationError):
                    round.held_for = round.pause
                tell(self._observer, "retried", len(claims))
            case Halve(one_is_wrong):
                middle = len(claims) // 2
                arrived = await self._settle(round, claims[:middle])
                one_is_wrong = one_is_wrong and arrived
                rest = claims[middle:]
                arrived &= await self._settle(round, rest, one_is_wrong=one_is_wrong)
                return arrived
            case Bury(reason):
                await self._bury(round, claims, reason)
            case _:
                assert_never(verdict)
        return False

    async def _reported(self, claims: Sequence[Claim]) -> Exception | None:
        try:
            await self._report([claim.event for claim in claims])
        except Exception as error:
            return error
        return None

    def _arrived(self, round: _Round, claims: Sequence[Claim]) -> None:
        if not round.pause:
            self.outage.end()
        round.arrived.update(claim.id for claim in claims)
        if not round.acking:
            round.acking = True
            round.begin_chore(self._ack(round))

    async def _ack(self, round: _Round) -> None:
        """Ack what has arrived, and what arrives meanwhile, beside the next reports."""
        try:
            while ids := list(round.arrived):
                await self._outbox.ack(ids)
                round.arrived.difference_update(ids)
                round.open.difference_update(ids)
                self.delivered += len(ids)
                self.delivered_at = self._clock()
                tell(self._observer, "delivered", len(ids))
        finally:
            round.acking = False

    async def _bury(self, round: _Round, claims: Sequence[Claim], reason: str) -> None:
        ids = [claim.id for claim in claims]
        await self._outbox.bury(ids, reason=reason)
        round.open.difference_update(ids)
        round.buried += len(ids)
        tell(self._observer, "buried", len(ids))

    async def _give_back(self, round: _Round) -> None:
        """End what is under way, and let others claim what is left."""
        for report in round.reports:
            report.cancel()
        try:
            async with asyncio.timeout(self.give_back_for):
                # A claim or an ack that is cut off may have been done all the same.
                while tasks := round.tasks:
                    await asyncio.wait(tasks)
                    round.let_go()
                # Where the outbox failed it may do better now.
                await self._ack(round)
                if round.open:
                    await self._outbox.retry(list(round.open), delay=round.held_for)
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
    """What one emptying of the outbox has in its hands.

    Attributes:
        to_the_end: Whether it goes on until nothing is due.
        heeds_stop: Whether it ends when the relay is stopped.
        name: Under which it claims: what an earlier round could not give back keeps
            the later events of its users from this one.
        backlog: Claims that no report has taken yet.
        open: Every claim that is neither delivered nor buried.
        arrived: What was delivered and is to be acked.
        reports: The reports under way.
        chores: What the outbox was asked, and has not yet done.
        claiming: Whether a claim is among them.
        acking: Whether an ack is.
        more: Whether another claim may find something.
        pause: How long to wait after a failed report, in seconds.
        held_for: How long the events wait then, for any relay, in seconds.
        error: How the outbox failed.
        buried: How many events were buried.
    """

    to_the_end: bool
    heeds_stop: bool = True
    name: str = field(default_factory=lambda: token_hex(8))
    backlog: Backlog = field(default_factory=Backlog)
    open: set[EventId] = field(default_factory=set)
    arrived: set[EventId] = field(default_factory=set)
    reports: set[Task[None]] = field(default_factory=set)
    chores: set[Task[None]] = field(default_factory=set)
    claiming: bool = False
    acking: bool = False
    more: bool = True
    pause: float = 0.0
    held_for: float = 0.0
    error: BaseException | None = None
    buried: int = 0

    @property
    def tasks(self) -> set[Task[None]]:
        """All that is under way."""
        return self.reports | self.chores

    def begin_chore(self, work: Coroutine[Any, Any, None]) -> None:
        self.chores.add(asyncio.create_task(work))

    def let_go(self) -> None:
        """Forget the tasks that are done; keep the error that one ended with."""
        for tasks in (self.reports, self.chores):
            for task in [task for task in tasks if task.done()]:
                tasks.remove(task)
                if not task.cancelled():
                    self.error = self.error or task.exception()
