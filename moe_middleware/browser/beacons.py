"""Receives beacons: our script's reports of clicks and views."""

from __future__ import annotations

import logging
from collections.abc import Callable

from cachetools import LRUCache

from ..logs.repeated_lines import RepeatLogger
from ..models.events import Action, Event
from ..models.identity import Identity
from ..models.visits import Visit
from ..network.rate_limit import Rate, spend
from ..visitors.page_views import is_prefetch
from ..visitors.visitors import Visitors
from .endpoints import NEVER_KEPT, Reply, is_own_site, refused
from .marks import Mark, MarkTokens, Signal, read_signals
from .reported_events import ReportedEvents

logger = logging.getLogger(__name__)

RATE = Rate(interval=0.5, burst=100)
"""The rate limit per visitor: a hundred events at once, then two per second."""

MAX_VISITORS = 20_000
"""The number of visitors, the latest ones, whose rate is known."""


class BeaconReceiver:
    """Counts the clicks and impressions in beacons.

    Only our pages hand out tokens; each counts for the visitor of its page, until it
    expires. A repeated click or impression has the same uuid, and counts once.

    Args:
        beacons: Reads the tokens.
        visitors: Identifies the sender.
        events: Makes and stores the events.
        clock: The time, in unix seconds.
        stopwatch: A clock that never jumps, in seconds.
    """

    def __init__(
        self,
        beacons: MarkTokens,
        visitors: Visitors,
        events: ReportedEvents,
        *,
        clock: Callable[[], float],
        stopwatch: Callable[[], float],
    ) -> None:
        self._beacons = beacons
        self._visitors = visitors
        self._events = events
        self._clock = clock
        self._stopwatch = stopwatch
        self._logger = RepeatLogger(logger)
        self._used_until: LRUCache[str, float] = LRUCache(MAX_VISITORS)

    async def collect(self, visit: Visit, rest: str, body: bytes) -> Reply:
        """Store the events of a beacon; the response has no body."""
        if not is_own_site(visit):
            return await self._refused(403, "other_site", visit)
        signals = read_signals(body)
        if signals is None:
            return await self._refused(400, "malformed", visit)
        marks = [(signal, self._beacons.read(signal.token)) for signal in signals]
        known = [(signal, mark) for signal, mark in marks if mark is not None]
        # Only our script sends beacons: with one foreign token, none of it is.
        if len(known) < len(signals):
            return await self._refused(400, "not_ours", visit)
        if self._visitors.is_bot(visit) or is_prefetch(visit):
            return _NOTHING
        known_as = await self._visitors.known_as(visit)
        if not known_as:
            return _NOTHING
        # All elements of an experience report the same impression.
        happened = {signal.uuid(mark) for signal, mark in known}
        if not self._may_report(known_as[0], len(happened)):
            return await self._refused(429, "too_many", visit)
        events = self._counted(known, known_as)
        return await self._store(events, known_as[0]) if events else _NOTHING

    async def _refused(self, status: int, reason: str, visit: Visit) -> Reply:
        who = await self._visitors.log_name(visit)
        self._logger.log(logging.WARNING, "beacon_refused reason=%s", reason, who=who)
        return refused(status, reason)

    def _may_report(self, identity: Identity, events: int) -> bool:
        reporting_id = str(identity.reporting_id)
        used_until = self._used_until.get(reporting_id, 0.0)
        self._used_until[reporting_id], wait = spend(
            used_until, self._stopwatch(), RATE, events
        )
        return wait == 0

    def _counted(
        self, signals: list[tuple[Signal, Mark]], known_as: list[Identity]
    ) -> list[Event]:
        now = self._clock()
        # By uuid: a repeated signal is the same event.
        events: dict[str, Event] = {}
        for signal, mark in signals:
            uuid = signal.uuid(mark)
            if uuid is None or now > mark.token.expires_at:
                continue
            owners = [one for one in known_as if self._beacons.is_of(mark, one)]
            if not owners:
                continue
            events[uuid] = self._events.make(
                signal.action,
                uuid=uuid,
                visitor=owners[0],
                now=now,
                context=mark.experience_context,
                b_id=mark.b_id if signal.action is Action.CLICK else None,
            )
        return [*events.values()]

    async def _store(self, events: list[Event], identity: Identity) -> Reply:
        error = await self._events.store(events)
        if error is None:
            return _NOTHING
        who = self._visitors.log_names.of(identity.reporting_id)
        if isinstance(error, TimeoutError):
            # The outbox goes on: a beacon that is sent again would not count twice.
            logger.warning("beacon_not_stored_yet events=%d%s", len(events), who)
            return _NOTHING
        logger.warning("beacon_not_stored error=%s%s", type(error).__name__, who)
        return refused(503, "not stored")


_NOTHING = Reply(204, [*NEVER_KEPT])
