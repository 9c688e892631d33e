"""Plays a site's busiest minutes through the real cache and the real budget. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from ..cache.last_hour import LastHour, last_hour
from ..cache.memory import MemoryCache
from ..client.wire import split_keys
from ..visitors.session_attributes import variants
from .quota import Outcome, Quota
from .site import Setup, Traffic
from .traffic import NAMELESS, Request, VisitorId, requests

MOST_REQUESTS = 60_000
"""Requests that are simulated at most: some seconds of work. Of a larger site each
visitor stands for several."""

MANY_KEYS = 10
"""Keys of a page from which fewer requests are simulated."""

LONGEST_BEFORE = 3600.0
"""Seconds that are simulated at most before the first minute, to fill the caches."""

NOON = 1_700_049_600.0
"""A full hour, in unix seconds. It is in the middle of the simulated minutes, as a peak
rarely avoids one."""

NEARLY = 0.97
"""The share of its memory from which a cache counts as full."""

ANSWER = b""
"""An answer in a process's cache. One that many visitors have in common takes as much
there: a number."""


@dataclass(slots=True)
class Minute:
    """The figures of one minute.

    Attributes:
        requests: Pages of visitors.
        fresh: Pages whose process had fresh answers.
        shared: Pages that found all others in the shared cache.
        waited: Pages that waited for a fetch.
        stale: Pages that got old answers at once.
        fallbacks: Pages without an answer, as no fetch could be made.
        fetches: Fetches that were made.
        kept_back: Fetches that a budget kept back.
        refused: Fetches that MoEngage refused.
        lookups: Requests to the shared cache.
        cached_bytes: Memory of one process's cache at the end.
        shared_answers: Answers in the shared cache at the end.
    """

    requests: int = 0
    fresh: int = 0
    shared: int = 0
    waited: int = 0
    stale: int = 0
    fallbacks: int = 0
    fetches: int = 0
    kept_back: int = 0
    refused: int = 0
    lookups: int = 0
    cached_bytes: float = 0.0
    shared_answers: int = 0

    @property
    def wanted(self) -> int:
        """Fetches that were made or would have been."""
        return self.fetches + self.kept_back + self.refused


@dataclass(frozen=True, slots=True)
class Simulated:
    """A simulated time.

    Attributes:
        minutes: What happened in each minute, of all visitors.
        one_in: How many visitors each simulated one stands for.
        is_full: Whether the memory of a process's cache was used up.
    """

    minutes: Sequence[Minute]
    one_in: int
    is_full: bool

    def total(self, name: str) -> float:
        """Return the sum of a figure over all minutes."""
        return float(sum(getattr(minute, name) for minute in self.minutes))

    def mean(self, name: str) -> float:
        """Return the mean of a figure."""
        return fmean(getattr(minute, name) for minute in self.minutes)

    def p99(self, name: str) -> float:
        """Return the figure of the minute that only 1 % exceed."""
        figures = sorted(float(getattr(minute, name)) for minute in self.minutes)
        return figures[max(0, -(-len(figures) * 99 // 100) - 1)]


def seconds_before(traffic: Traffic, setup: Setup) -> float:
    """Return how long the site is played before the first minute."""
    return min(LONGEST_BEFORE, setup.ttl + setup.stale + traffic.pause)


def simulate(
    traffic: Traffic, setup: Setup, *, seed: int = 1, bounded: bool = True
) -> Simulated:
    """Return a site's busiest minutes.

    A fetch takes no time here, so pages that would wait for a running one find its
    answer; both are one fetch.

    Args:
        traffic: Who comes.
        setup: What the site runs on.
        seed: The same seed gives the same figures.
        bounded: Whether the quota and the cache's bounds apply.
    """
    before = seconds_before(traffic, setup)
    all_requests = (traffic.minutes + before / 60) * traffic.busiest_visits
    # A page of many keys takes as long as several of few.
    effort = all_requests * traffic.pages * max(1.0, traffic.keys / MANY_KEYS)
    one_in = max(1, round(effort / MOST_REQUESTS))
    drawn = requests(traffic, setup, before=before, one_in=one_in, seed=seed)
    run = _Run(traffic, setup, one_in, bounded)
    for request in drawn:
        run.serve(request)
    run.go_to_minute(traffic.minutes)
    # The first is the time before the minutes, the last has only begun.
    return Simulated(run.minutes[1:-1], one_in, run.is_full)


@dataclass(slots=True)
class _Run:
    traffic: Traffic
    setup: Setup
    one_in: int
    bounded: bool
    now: float = 0.0
    is_full: bool = False
    minutes: list[Minute] = field(default_factory=lambda: [Minute()])
    _caches: list[MemoryCache] = field(init=False)
    _shared: dict[tuple[VisitorId, bytes, str], float] = field(default_factory=dict)
    _quota: Quota | None = field(init=False)
    _most_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        setup = self.setup
        self._most_bytes = setup.max_bytes // self.one_in if self.bounded else 2**62
        most = setup.max_entries // self.one_in if self.bounded else 2**62
        self._caches = [
            MemoryCache(
                ttl=setup.ttl,
                stale=setup.stale,
                max_entries=most,
                max_bytes=self._most_bytes,
                clock=lambda: self.now,
            )
            for _ in range(setup.all_processes)
        ]
        self._quota = Quota(setup) if self.bounded else None

    def serve(self, request: Request) -> None:
        """Serve one page."""
        self.go_to_minute(max(-1, int(request.at // 60)))
        self.now = NOON - self.traffic.minutes * 30 + request.at
        minute = self.minutes[-1]
        minute.requests += self.one_in
        keys = self.traffic.kinds[request.kind]
        named = {"changed": str(request.changed)} if request.changed else {}
        variant, of_last = variants(named, self.now)
        cache = self._caches[request.process]
        found = cache.bodies(request.visitor, variant, keys)
        missing = [key for key in keys if key not in found]
        if not missing:
            minute.fresh += self.one_in
            return
        ttl, stale = self.setup.ttl, self.setup.stale
        last = last_hour(request.visitor, of_last, self.now, ttl=ttl, stale=stale)
        if last is not None and not last.is_due:
            kept = cache.bodies(request.visitor, last.variant, missing)
            missing = [key for key in missing if key not in kept]
            if not missing:
                minute.stale += self.one_in
                return
        old = {**cache.bodies(request.visitor, variant, missing, stale)}
        if last is not None:
            old |= cache.bodies(request.visitor, last.variant, missing, stale)
        if self.setup.shared:
            missing, older = self._look_up(request, variant, last, missing)
            old |= older
            if not missing:
                minute.shared += self.one_in
                return
        made = [self._fetch(request, variant, some) for some in split_keys(missing)]
        if all(key in old for key in missing):
            minute.stale += self.one_in
        elif all(made):
            minute.waited += self.one_in
        else:
            minute.fallbacks += self.one_in

    def go_to_minute(self, number: int) -> None:
        """End the minutes before this one; all time before the first is one."""
        while len(self.minutes) < number + 2:
            self._end(self.minutes[-1])
            self.minutes.append(Minute())

    def _end(self, minute: Minute) -> None:
        sizes = [cache.size for cache in self._caches]
        # An eviction leaves room for a visitor: the sizes stay just below the bound.
        self.is_full |= max(sizes) > self._most_bytes * NEARLY
        minute.cached_bytes = fmean(sizes) * self.one_in
        oldest = self.now - self.setup.stale
        self._shared = {
            name: until for name, until in self._shared.items() if until > oldest
        }
        minute.shared_answers = len(self._shared) * self.one_in

    def _look_up(
        self,
        request: Request,
        variant: bytes,
        last: LastHour | None,
        keys: Sequence[str],
    ) -> tuple[list[str], dict[str, bytes]]:
        """Take what needs no refresh; return the keys that do, and their answers."""
        missing, old = self._shared_answers(request, variant, keys)
        if missing and last is not None:
            due, of_last = self._shared_answers(request, last.variant, missing)
            if last.is_due:
                old |= dict.fromkeys((key for key in missing if key not in due), ANSWER)
            else:
                missing = due
            old |= of_last
        return missing, old

    def _shared_answers(
        self, request: Request, variant: bytes, keys: Sequence[str]
    ) -> tuple[list[str], dict[str, bytes]]:
        """Take fresh answers of the shared cache; return the others, and old ones."""
        self.minutes[-1].lookups += self.one_in
        missing, fresh, old = [], {}, {}
        for key in keys:
            until = self._shared.get((request.visitor, variant, key), 0.0)
            if until > self.now:
                fresh[key] = (until - self.now, ANSWER)
                continue
            missing.append(key)
            if until > self.now - self.setup.stale:
                old[key] = ANSWER
        if fresh:
            cache = self._caches[request.process]
            cache.put_encoded(request.visitor, variant, fresh)
        return missing, old

    def _fetch(self, request: Request, variant: bytes, keys: Sequence[str]) -> bool:
        """Fetch keys if a fetch is left; return whether it was."""
        # Visitors without an id share one answer: theirs is a single fetch.
        weight = 1 if request.visitor == NAMELESS else self.one_in
        if self._quota is None:
            outcome = Outcome(made=weight)
        else:
            outcome = self._quota.take(request.process, self.now, weight)
        minute = self.minutes[-1]
        minute.fetches += outcome.made
        minute.kept_back += outcome.kept_back
        minute.refused += outcome.refused
        if not outcome.made:
            return False
        ttl = self.setup.ttl
        self._caches[request.process].put_encoded(
            request.visitor, variant, dict.fromkeys(keys, (ttl, ANSWER))
        )
        if self.setup.shared:
            for key in keys:
                self._shared[request.visitor, variant, key] = self.now + ttl
        return True
