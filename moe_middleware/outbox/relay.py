"""The loop that empties the outbox: claim, report, then what the verdict says."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from asyncio import FIRST_COMPLETED, Task
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any, Self, assert_never

from ..logs.repeated_lines import RepeatLogger
from ..models.errors import (
    AnswerError,
    APIError,
    AuthenticationError,
    RateLimitedError,
)
from ..models.events import Event
from ..models.observers import Observer
from ..settings.sections import EventSettings
from . import Claim, Outbox
from .batches import Backlog
from .contract import EventId
from .losses import tell
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

GIVE_UP_AFTER = 60.0
"""How long ``run(until_empty=True)`` goes on without its outbox, in seconds."""

REMIND_EVERY = 300.0
"""The pause between two log lines about one outage, in seconds."""

Report = Callable[[Sequence[Event]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayState:
    """How a relay's deliveries go. Times are in unix seconds.

    Attributes:
        failures: How many attempts failed since one succeeded.
        error: How the last of them failed; None where none did.
        delivered: How many events it has delivered.
        delivered_at: When it last delivered any.
        failed_at: When its last attempt failed, however long ago.
        next_try_at: When it tries again after a failure; None where it need not wait.
    """

    failures: int = 0
    error: Exception | None = None
    delivered: int = 0
    delivered_at: float | None = None
    failed_at: float | None = None
    next_try_at: float | None = None


class Relay:
    """Delivers an outbox's events, several reports at a time.

    Any number of relays may work on one outbox, in any number of processes.

    Args:
        outbox: Where the events wait.
        report: Reports events or raises, within a time of its own, as
            ``MoEngageClient.report`` does.
        parallel: Reports under way at once.
        interval: The pause between two looks into an empty outbox, in seconds.
        lease_for: How long claimed events stay claimed, in seconds.
        max_age: How long an event is tried, in seconds from when it happened.
        observer: Told what is delivered, retried and buried.
        clock: The time, in unix seconds.
        stopwatch: A clock that never jumps, in seconds.
        jitter: Returns a random number from 0 to 1.
    """

    def __init__(
        self,
        outbox: Outbox,
        report: Report,
        *,
        parallel: int = 4,
        interval: float = 1.0,
        lease_for: float = 30.0,
        max_age: float = 7 * 86_400.0,
        observer: Observer | None = None,
        clock: Callable[[], float] = time.time,
        stopwatch: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._outbox = outbox
        self._report = report
        self._parallel = parallel
        self._interval = interval
        self._lease_for = lease_for
        self._max_age = max_age
        self._observer = observer or Observer()
        self._clock = clock
        self._stopwatch = stopwatch
        self._began_at = clock() - stopwatch()
        self._jitter = jitter
        self._outage = _Outage()
        self._delivered = 0
        self._delivered_at: float | None = None
        self._unread_since: float | None = None
        self._logger = RepeatLogger(logger, every=60.0)
        self._stopped = asyncio.Event()
        self._roused = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: Task[None] | None = None
        self._give_back_for = GIVE_BACK_FOR

    @classmethod
    def configured(
        cls, settings: EventSettings, outbox: Outbox, report: Report, observer: Observer
    ) -> Self:
        """Return a relay that works as the settings of events say."""
        return cls(
            outbox,
            report,
            parallel=settings.parallel,
            interval=settings.interval,
            lease_for=settings.lease,
            max_age=settings.max_age,
            observer=observer,
        )

    @property
    def failures(self) -> int:
        """How many attempts failed since one succeeded."""
        return self._outage.failures

    def state(self) -> RelayState:
        """Return how deliveries go."""
        outage = self._outage
        return RelayState(
            failures=outage.failures,
            delivered=self._delivered,
            delivered_at=self._delivered_at,
            failed_at=outage.failed_at,
            error=outage.error,
            next_try_at=outage.next_try_at if outage.failures else None,
        )

    async def run(self, *, until_empty: bool = False) -> None:
        """Deliver until stopped or cancelled.

        Args:
            until_empty: Whether it also ends once nothing waits any more.

        Raises:
            OutboxError: With ``until_empty``, the outbox has failed for a minute.
        """
        self._running = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        try:
            while not self._stopped.is_set():
                pause = await self._deliver_or_say(until_empty=until_empty)
                await self._rest(max(pause, self._interval))
        finally:
            self._running = self._loop = None

    def stop(self) -> None:
        """Let ``run`` end, for good, as soon as the reports under way have ended."""
        self._stopped.set()
        self._roused.set()

    def rouse(self) -> None:
        """Let ``run`` look again at once, as after new credentials; on any thread."""
        if (loop := self._loop) is not None:
            with contextlib.suppress(RuntimeError):  # it has just been closed
                loop.call_soon_threadsafe(self._roused.set)

    async def drain(self, timeout: float) -> None:
        """End ``run``, then deliver what waits, for ``timeout`` seconds at most.

        It ends sooner where a report fails. What was not delivered stays.
        """
        running = self._running
        self.stop()
        self._give_back_for = min(GIVE_BACK_FOR, timeout / 4)
        try:
            async with asyncio.timeout(timeout - self._give_back_for):
                if running is not None:
                    await asyncio.wait([running])
                await self._outbox.flush()
                await self._deliver(_Round(to_the_end=True, heeds_stop=False))
        except TimeoutError:
            logger.warning("drain_cut timeout=%g", timeout)
            if running is not None and running.cancel():
                await asyncio.wait([running], timeout=self._give_back_for)
        except Exception as error:
            self._logger.log(
                logging.ERROR,
                "relay_failed error=%s: the outbox cannot be read or written, see its "
                "own line; what is in it stays for the next start",
                type(error).__name__,
            )

    async def deliver(self, *, to_the_end: bool = False) -> float:
        """Deliver what is due, until a report fails or ``stop`` is called.

        Args:
            to_the_end: Whether to look again until nothing is due; otherwise the last
                few events are left to gather company.

        Returns:
            How long to wait before the next attempt, in seconds; 0.0 without a failure.
        """
        return await self._deliver(_Round(to_the_end=to_the_end))

    async def _deliver_or_say(self, *, until_empty: bool) -> float:
        try:
            pause = await self.deliver(to_the_end=until_empty)
            if until_empty and not (await self._outbox.count()).waiting:
                self.stop()
        except Exception as error:
            now = self._stopwatch()
            self._unread_since = self._unread_since or now
            if until_empty and now - self._unread_since >= GIVE_UP_AFTER:
                # A deploy or a cron job waits for the end.
                raise
            # The outbox itself fails; it says more in its own log line.
            self._logger.log(
                logging.ERROR,
                "relay_failed error=%s: the outbox cannot be read or written, see its "
                "own line; the relay goes on trying",
                type(error).__name__,
            )
            return 0.0
        self._unread_since = None
        return pause

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._roused.wait()
            self._roused.clear()

    # --- one round ---------------------------------------------------------

    async def _deliver(self, round: _Round) -> float:
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
        at_once = 1 if self.failures else self._parallel
        while len(round.reports) < at_once and not self._over(round):
            batch = round.backlog.next_batch()
            if not batch:
                break
            round.reports.add(asyncio.create_task(self._deliver_batch(round, batch)))
        low = not round.open if self.failures else len(round.backlog) <= CLAIM_AT
        if low and round.more and not round.claiming and not self._over(round):
            round.claiming = True
            round.begin_chore(self._claim(round))

    def _over(self, round: _Round) -> bool:
        """Whether nothing more may be begun in a round."""
        stopped = round.heeds_stop and self._stopped.is_set()
        return bool(round.pause or round.error or stopped)

    async def _claim(self, round: _Round) -> None:
        limit = PROBE_LIMIT if self.failures else CLAIM_LIMIT
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
        if not self.failures:
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
        await self._bury(round, old, old_age(max_age, self._outage.error).reason)
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
                failures=self.failures + (0 if round.pause else 1),
                jitter=self._jitter(),
            )
        match verdict:
            case Ack():
                self._arrived(round, claims)
                return True
            case Retry(delay):
                if not round.pause and error is not None:
                    self._outage.go_on(
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
            self._outage.end()
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
                self._delivered += len(ids)
                self._delivered_at = self._clock()
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
            async with asyncio.timeout(self._give_back_for):
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


def _advice(error: Exception) -> str:
    """Return what to look at, where it goes on."""
    match error:
        case AnswerError():
            return f"{error}: check base_url, and any proxy"
        case RateLimitedError():
            return "the workspace's calls are used up for now"
        case APIError() if error.status < 500:
            return "is base_url the API's address?"
    return "if it goes on, check the network and MoEngage's status"


@dataclass(slots=True)
class _Outage:
    """A row of failures, and what was said about it.

    Attributes:
        failures: How many attempts failed in a row.
        error: The last one's.
        failed_at: When the last attempt failed, ever, in unix seconds.
        next_try_at: When the next one was due then.
    """

    failures: int = 0
    error: Exception | None = None
    failed_at: float | None = None
    next_try_at: float | None = None
    _said: str = ""
    _said_at: float = 0.0

    def go_on(self, error: Exception, *, events: int, pause: float, now: float) -> None:
        """Count a failure; say so at the first of its kind, and now and then."""
        self.failures += 1
        self.error = error
        self.failed_at, self.next_try_at = now, now + pause
        name = type(error).__name__
        moment = time.monotonic()
        if name == self._said and moment - self._said_at < REMIND_EVERY:
            return
        self._said, self._said_at = name, moment
        status = getattr(error, "status", "-")
        if isinstance(error, AuthenticationError):
            logger.error(
                "credentials_refused status=%s retry_in=%.0f failures=%d: events are "
                "kept; check workspace.id, the Personalize tile's key and data_center",
                status,
                pause,
                self.failures,
            )
        else:
            logger.warning(
                "report_failed events=%d retry_in=%.1f failures=%d error=%s status=%s: "
                "events are kept and tried again; %s",
                events,
                pause,
                self.failures,
                name,
                status,
                _advice(error),
            )

    def end(self) -> None:
        """A report has arrived."""
        if self.failures:
            logger.warning("reports_arrive_again failures=%d", self.failures)
            self.failures, self.error, self._said = 0, None, ""
