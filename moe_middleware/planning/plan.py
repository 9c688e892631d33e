"""A plan: what a site's busiest hour takes of each part, and which gives way first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from . import costs
from .formula import fetches_a_minute, fetches_after_the_hour
from .simulation import Simulated, simulate
from .site import Setup, Traffic

LONGEST_TTL = 3600.0
"""Seconds. The hour is part of the cache key, so a longer ttl saves nothing."""

WORTH_NAMING = 0.95
"""The share of the fetches that a longer ttl may leave, to be named."""

MUCH = 1.3
"""How many times as many fetches the first minute of an hour has, to be named."""

TTLS = (120.0, 300.0, 900.0, LONGEST_TTL)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the site.

    Attributes:
        name: Its name.
        used: What the busiest minute takes of it.
        limit: What it bears.
        unit: The unit of both.
        remedy: What to do before it gives way.
    """

    name: str
    used: float
    limit: float
    unit: str
    remedy: str

    @property
    def share(self) -> float:
        """The share of its limit that is used."""
        return self.used / self.limit

    @property
    def gives_way_at(self) -> float | None:
        """The multiple of this traffic that it bears; None for an unused part."""
        return self.limit / self.used if self.used else None


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the site, and what the formula says of it.

    Attributes:
        what: The change.
        fetches: The fetches of the busiest minute.
        after_the_hour: The same, if an hour has just begun.
    """

    what: str
    fetches: float
    after_the_hour: float


@dataclass(frozen=True, slots=True)
class Plan:
    """The needs of a site's busiest hour.

    Attributes:
        traffic: Who comes.
        setup: What the site runs on.
        simulated: Its busiest minutes.
        unbounded: The same without a quota and with all the memory it wants.
        parts: What each part must bear, the one that gives way first at the top.
        changes: What lowers the fetches.
    """

    traffic: Traffic
    setup: Setup
    simulated: Simulated
    unbounded: Simulated
    parts: list[Part]
    changes: list[Change]


def plan(traffic: Traffic, setup: Setup, *, seed: int = 1) -> Plan:
    """Simulate a site and return what its parts must bear."""
    simulated = simulate(traffic, setup, seed=seed)
    is_free = not (
        simulated.is_full or simulated.total("kept_back") or simulated.total("refused")
    )
    # Where no bound was met, a second run would be the same.
    unbounded = (
        simulated if is_free else simulate(traffic, setup, seed=seed, bounded=False)
    )
    parts = [
        *_quota(traffic, setup, unbounded),
        *_memory(setup, unbounded),
        *_redis(traffic, setup, unbounded),
        *_outbox(traffic, setup),
    ]
    parts.sort(key=lambda part: part.share, reverse=True)
    changes = [*_changes(traffic, setup)]
    return Plan(traffic, setup, simulated, unbounded, parts, changes)


def _quota(traffic: Traffic, setup: Setup, wanted: Simulated) -> Iterator[Part]:
    visits = traffic.busiest_visits * (1 - traffic.nameless)
    least = visits * traffic.fetches_of_a_page
    if least > setup.limit:
        remedy = (
            f"The first pages of visits alone want {least:,.0f} fetches a minute: ask "
            "MoEngage for a higher limit, or personalise fewer pages or visitors"
        )
    elif fetches_after_the_hour(traffic, setup) > MUCH * fetches_a_minute(
        traffic, setup
    ):
        remedy = (
            "The hour is part of the cache key, so at a full hour the visitors who are "
            f"there are fetched for again. Raise cache.stale to {setup.ttl:g}, your "
            "cache.ttl: the last hour's answers then stand in"
        )
    else:
        remedy = "Share answers, or keep them for longer"
    yield Part("fetches", wanted.p99("wanted"), setup.limit, "a minute", remedy)


def _memory(setup: Setup, wanted: Simulated) -> Iterator[Part]:
    used = max(minute.cached_bytes for minute in wanted.minutes)
    yield Part(
        "cache memory",
        used / 2**20,
        setup.max_bytes / 2**20,
        "MiB a process",
        "Raise cache.max_bytes, lower cache.stale, or keep a visitor at one process",
    )


def redis_load(
    traffic: Traffic, setup: Setup, wanted: Simulated
) -> tuple[float, float]:
    """Return the commands and the CPU seconds a second of all that is in Redis."""
    loads = []
    fetches = wanted.p99("fetches") / 60
    if setup.shared:
        loads.append((wanted.p99("lookups") / 60, costs.redis_lookup(traffic.keys)))
        stores = fetches / traffic.fetches_of_a_page
        loads.append((stores, costs.redis_store(traffic.keys)))
    if setup.budget == "all":
        loads.append((fetches, (1, costs.REDIS_BUDGET)))
    if setup.outbox == "redis":
        loads.append((traffic.events_a_second, (0, costs.REDIS_EVENT)))
        loads.append((setup.all_relays, (1, costs.REDIS_POLL)))
    commands = sum(times * each[0] for times, each in loads)
    return commands, sum(times * each[1] for times, each in loads)


def _redis(traffic: Traffic, setup: Setup, wanted: Simulated) -> Iterator[Part]:
    seconds = redis_load(traffic, setup, wanted)[1]
    if seconds:
        yield Part(
            "Redis",
            100 * seconds,
            100,
            "% of a core",
            "Give cache, budget and outbox a Redis each; a cluster spreads the cache",
        )


def _outbox(traffic: Traffic, setup: Setup) -> Iterator[Part]:
    events = traffic.events_a_second
    if setup.outbox == "sqlite":
        yield Part(
            "outbox",
            events / setup.hosts,
            costs.SQLITE_APPENDS,
            "events/s a host",
            "Add hosts, each with a file of its own",
        )
    yield Part(
        "an hour's outage",
        events * 3600,
        setup.events_bear,
        "events wait",
        "Raise events.max_events: MoEngage may be away when most visitors come",
    )
    yield Part(
        "relay",
        events / setup.all_relays,
        setup.relay_bears,
        "events/s a relay",
        "Raise events.parallel, or start another `moe-middleware relay`",
    )


def _changes(traffic: Traffic, setup: Setup) -> Iterator[Change]:
    """Yield what lowers the fetches, by the formula; the current state first."""
    if traffic.changes:
        return  # the formula does not know them
    yield _change("as planned", traffic, setup)
    best, also = setup, ""
    if setup.places > 1 and not setup.shared:
        best, also = replace(setup, shared=True), "cache.redis, "
        yield _change("cache.redis", traffic, best)
    before = fetches_a_minute(traffic, best)
    if fetches_after_the_hour(traffic, best) > MUCH * before:
        best = replace(best, stale=best.ttl)
        also += f"cache.stale: {best.ttl:g}, "
        yield _change(also.rstrip(", "), traffic, best)
    for ttl in TTLS:
        longer = replace(best, ttl=ttl)
        if fetches_a_minute(traffic, longer) > before * WORTH_NAMING:
            continue
        change = _change(f"{also}cache.ttl: {ttl:g}", traffic, longer)
        before = change.fetches
        yield change


def _change(what: str, traffic: Traffic, setup: Setup) -> Change:
    return Change(
        what,
        fetches_a_minute(traffic, setup),
        fetches_after_the_hour(traffic, setup),
    )
