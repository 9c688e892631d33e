"""Collects what our script tells from browsers, and serves the script."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from urllib.parse import urlsplit

from cachetools import LRUCache

from .beacons import Beacons, Mark, Signal, read_signals
from .browser import SCRIPT
from .errors import OutboxError
from .gcra import Rate, spend
from .models import Action, Event, Identity
from .outbox import Outbox
from .own_paths import NEVER_KEPT, Reply, refused
from .sections import EventSettings
from .unseen import PURPOSE_HEADERS, is_prefetch
from .visitors import Visitors
from .visits import Visit

logger = logging.getLogger(__name__)

RATE = Rate(interval=0.5, burst=100)
"""What one visitor may tell of: a hundred elements at once, then two each second."""

MAX_VISITORS = 20_000
"""Of so many the rate is known, the latest ones."""

STORE_WITHIN = 0.25
"""How long an answer waits for its events to be stored, in seconds. What takes longer
is stored all the same, in a moment."""


class Collector:
    """Counts what browsers tell of the pages of their own visitors.

    Tokens can be had from our pages alone, and count for the visitor whose page had
    them, until they expire. Whatever comes twice has the same uuid, and counts once.

    Args:
        beacons: Reads the tokens.
        visitors: Tells who sends them.
        outbox: Takes the events.
        events: The settings of events.
        clock: The time, in unix seconds.
        stopwatch: A clock that never jumps, in seconds.
    """

    def __init__(
        self,
        beacons: Beacons,
        visitors: Visitors,
        outbox: Outbox,
        events: EventSettings,
        *,
        clock: Callable[[], float],
        stopwatch: Callable[[], float],
    ) -> None:
        self._beacons = beacons
        self._visitors = visitors
        self._outbox = outbox
        self._events = events
        self._clock = clock
        self._stopwatch = stopwatch
        self._used_until: LRUCache[str, float] = LRUCache(MAX_VISITORS)

    async def collect(self, visit: Visit, rest: str, body: bytes) -> Reply:
        """Count what a beacon says, store its events, and answer nothing."""
        if not is_own_site(visit):
            return _refused(403, "other_site")
        signals = read_signals(body)
        if signals is None:
            return _refused(400, "malformed")
        read = [(signal, self._beacons.read(signal.token)) for signal in signals]
        told = [(signal, mark) for signal, mark in read if mark is not None]
        if len(told) < len(signals):
            return _refused(400, "not_ours")
        if self._visitors.is_bot(visit) or is_prefetch(*visit.any_of(PURPOSE_HEADERS)):
            return _NOTHING
        identity, is_new = await self._visitors.identify(visit)
        if is_new or identity.reporting_id is None:
            return _NOTHING
        if not self._may_tell(identity.reporting_id, len(told)):
            return _refused(429, "too_many")
        events = self._counted(told, identity, identity.reporting_id)
        return await self._store(events) if events else _NOTHING

    def _may_tell(self, reporting_id: str, signals: int) -> bool:
        used_until = self._used_until.get(reporting_id, 0.0)
        self._used_until[reporting_id], wait = spend(
            used_until, self._stopwatch(), RATE, signals
        )
        return wait == 0

    def _counted(
        self, told: list[tuple[Signal, Mark]], identity: Identity, customer_id: str
    ) -> list[Event]:
        now = self._clock()
        events: dict[str, Event] = {}
        for signal, mark in told:
            uuid = signal.uuid(mark)
            if uuid is None or now > mark.expires_at:
                continue
            if not self._beacons.is_of(mark, identity):
                continue
            events[uuid] = Event(
                uuid=uuid,
                customer_id=customer_id,
                action=signal.action,
                occurred_at=int(now),
                experience_context=mark.experience_context,
                platform=self._events.platform,
                b_id=mark.b_id if signal.action is Action.CLICK else None,
                user_timezone_offset=self._events.user_timezone_offset,
            )
        return [*events.values()]

    async def _store(self, events: list[Event]) -> Reply:
        try:
            self._outbox.append(events)
            async with asyncio.timeout(STORE_WITHIN):
                await self._outbox.flush()
        except TimeoutError:
            logger.warning("beacon_not_stored_yet events=%d", len(events))
        except OutboxError as error:
            logger.warning("beacon_not_stored error=%s", type(error).__name__)
            return refused(503, "not stored")
        return _NOTHING


async def serve_script(visit: Visit, rest: str, body: bytes) -> Reply:
    """Answer with the script, for ever the same below its name."""
    headers = [
        (b"content-type", b"text/javascript; charset=utf-8"),
        (b"content-length", str(len(SCRIPT)).encode()),
        (b"cache-control", b"public, max-age=31536000, immutable"),
        (b"x-content-type-options", b"nosniff"),
    ]
    return Reply(200, headers, SCRIPT if visit.method == "GET" else b"")


def is_own_site(visit: Visit) -> bool:
    """Whether a page of the same origin sent a request, by what its browser says.

    Where the browser does not say it outright, the origin has to be the host.
    """
    if (site := visit.header("sec-fetch-site")) is not None:
        return site == "same-origin"
    host, origin = visit.header("host"), visit.header("origin")
    try:
        return bool(host) and urlsplit(origin or "").netloc == host
    except ValueError:
        return False


def _refused(status: int, reason: str) -> Reply:
    logger.warning("beacon_refused reason=%s", reason)
    return refused(status, reason)


_NOTHING = Reply(204, [*NEVER_KEPT])
