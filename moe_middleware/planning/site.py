"""The site that is planned: its traffic, and what it runs on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..client.event_reports import MAX_EVENT_ELEMENTS
from ..client.wire import split_keys
from . import costs

MINUTES_A_DAY = 24 * 60
SECONDS_A_DAY = MINUTES_A_DAY * 60.0

LOWEST_OF_PEAK = 0.7
"""The traffic at both ends of the simulated time, as a share of its height."""

Sharing = Literal["process", "host", "all"]
"""Which processes share one count of fetches: ``budget.store``."""

Kind = Literal["memory", "sqlite", "redis"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Who comes, and what they look at.

    A visit's number of pages is geometric, the pauses between them are exponential, and
    the first kind of page is visited most (Zipf's law).

    Attributes:
        visitors: Visitors a day, with one visit each.
        pages: Mapped pages of a visit, on average; at least 1.
        pause: Seconds between two of them, on average.
        peak: The busiest minute, as a multiple of the day's mean one.
        minutes: How many minutes around it are simulated.
        kinds: The experience keys of each kind of page.
        changes: How often the attributes in the cache key change within a visit.
        nameless: The share of visitors without any id: they share their answers.
        bots: Bots' requests, as a share of all.
        impressions: Impressions of a page, on average.
        clicks: Clicks of a page, on average.
    """

    visitors: int
    pages: float = 5.0
    pause: float = 30.0
    peak: float = 3.0
    minutes: int = 60
    kinds: tuple[tuple[str, ...], ...] = (("key-1", "key-2"),)
    changes: float = 0.0
    nameless: float = 0.0
    bots: float = 0.0
    impressions: float = 1.0
    clicks: float = 0.05

    @property
    def busiest_visits(self) -> float:
        """Visits that begin in the busiest minute."""
        return self.visitors / MINUTES_A_DAY * self.peak

    @property
    def popularity(self) -> list[float]:
        """The share of each kind of page."""
        shares = [1 / rank for rank in range(1, len(self.kinds) + 1)]
        return [share / sum(shares) for share in shares]

    @property
    def keys(self) -> float:
        """Experience keys of a page, on average."""
        pairs = zip(self.popularity, self.kinds, strict=True)
        return sum(share * len(keys) for share, keys in pairs)

    @property
    def fetches_of_a_page(self) -> float:
        """Fetches of a page that finds nothing in a cache: one for 25 keys."""
        pairs = zip(self.popularity, self.kinds, strict=True)
        return sum(share * len(split_keys(keys)) for share, keys in pairs)

    @property
    def events_of_a_page(self) -> float:
        """Impressions and clicks of a page of a visitor with an id."""
        return (self.impressions + self.clicks) * (1 - self.nameless)

    @property
    def events_a_day(self) -> float:
        """All events of a day."""
        return self.visitors * self.pages * self.events_of_a_page

    @property
    def events_a_second(self) -> float:
        """Events in the busiest minute."""
        return self.events_a_day / SECONDS_A_DAY * self.peak


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The parts that the site runs on.

    Attributes:
        hosts: The number of hosts.
        processes: Server processes on each.
        sticky: Whether a visitor stays at one process.
        shared: Whether the processes share a Redis cache (``cache.redis``).
        ttl: How long an answer is fresh, in seconds (``cache.ttl``).
        stale: How much longer it may be served, in seconds (``cache.stale``).
        max_bytes: Memory of one process's cache (``cache.max_bytes``).
        max_entries: Answers in it at most (``cache.max_entries``).
        limit: Fetches a minute of the workspace (``budget.calls_per_minute``).
        budget: Which processes share one count of them (``budget.store``).
        outbox: Where events wait (``events.outbox``).
        max_events: How many of them at most (``events.max_events``).
        relays: How many relays deliver them; 0 means each server process.
        parallel: Reports under way at once, in one relay (``events.parallel``).
        report_seconds: How long MoEngage takes to answer a report.
        answer_bytes: The bytes of one key's answer.
    """

    hosts: int = 1
    processes: int = 4
    sticky: bool = False
    shared: bool = False
    ttl: float = 60.0
    stale: float = 600.0
    max_bytes: int = 64 * 1024 * 1024
    max_entries: int = 1_000_000
    limit: int = 10_000
    budget: Sharing = "process"
    outbox: Kind = "sqlite"
    max_events: int = 2_000_000
    relays: int = 0
    parallel: int = 8
    report_seconds: float = 0.2
    answer_bytes: int = 350
    all_processes: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "all_processes", self.hosts * self.processes)

    @property
    def places(self) -> int:
        """Among how many caches one visitor's pages are spread."""
        return 1 if self.sticky else self.all_processes

    @property
    def all_relays(self) -> int:
        """How many relays deliver."""
        return self.relays or self.all_processes

    @property
    def relay_bears(self) -> float:
        """Events a second that one relay delivers: it waits for MoEngage's answers."""
        answered = self.parallel * MAX_EVENT_ELEMENTS / self.report_seconds
        return min(answered, costs.RELAY_CPU_EVENTS)

    @property
    def events_bear(self) -> int:
        """Events that wait at most, in all outboxes together."""
        outboxes = {"memory": self.all_processes, "sqlite": self.hosts, "redis": 1}
        return self.max_events * outboxes[self.outbox]
