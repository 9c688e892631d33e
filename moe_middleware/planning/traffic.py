"""Page requests of a site's busiest time, drawn with a seed. Pure."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from math import cos, log, pi
from random import Random

from .site import LOWEST_OF_PEAK, Setup, Traffic

NAMELESS = b"n"
"""Stands for all visitors without an id: their answers have one cache key."""


class VisitorId(bytes):
    """A visitor's part of a cache key, with the same hash in every run."""

    def __hash__(self) -> int:
        return int.from_bytes(self[:7], "big")


@dataclass(frozen=True, slots=True)
class Request:
    """One page of a visitor.

    Attributes:
        at: When, in seconds from the begin of the simulated minutes; negative before.
        visitor: See ``cache.visitor_key``.
        kind: The index of the page's kind.
        process: The index of the process that serves it.
        changed: How often the visitor's attributes have changed.
    """

    at: float
    visitor: VisitorId
    kind: int
    process: int
    changed: int


def requests(
    traffic: Traffic, setup: Setup, *, before: float, one_in: int, seed: int
) -> list[Request]:
    """Return the requests of one visitor in ``one_in``, in the order of time.

    Args:
        traffic: The site's traffic.
        setup: Its processes.
        before: Seconds that are simulated before the first minute.
        one_in: How many visitors each of these stands for.
        seed: Draws with the same seed are the same.
    """
    random = Random(seed)
    kinds = list(accumulate(traffic.popularity))
    go_on = 1 - 1 / traffic.pages
    # A change can come before each page but the first.
    change = min(1.0, traffic.changes / max(traffic.pages - 1, 1e-9))
    found = []
    for at in _begins(traffic, before, one_in, random):
        named = random.random() >= traffic.nameless
        visitor = VisitorId(random.randbytes(16) if named else NAMELESS)
        process = random.randrange(setup.all_processes)
        changed = 0
        while at < traffic.minutes * 60:
            if not setup.sticky:
                process = random.randrange(setup.all_processes)
            kind = bisect(kinds, random.random() * kinds[-1])
            found.append(Request(at, visitor, kind, process, changed))
            if random.random() >= go_on:
                break
            at -= log(1 - random.random()) * traffic.pause
            changed += random.random() < change
    return sorted(found, key=lambda one: one.at)


def _begins(
    traffic: Traffic, before: float, one_in: int, random: Random
) -> Iterator[float]:
    """Yield when visits begin: more of them towards the middle of the minutes.

    First come the visits that are under way already, at their next page. They go on
    like new ones, as a geometric number of pages has no memory.
    """
    end = traffic.minutes * 60.0
    a_second = traffic.busiest_visits / 60 / one_in
    at = -before
    there = a_second * LOWEST_OF_PEAK * (traffic.pages - 1) * traffic.pause
    for _ in range(round(there)):
        yield at - log(1 - random.random()) * traffic.pause
    while True:
        height = (1 - cos(2 * pi * max(0.0, at) / end)) / 2
        rate = a_second * (LOWEST_OF_PEAK + (1 - LOWEST_OF_PEAK) * height)
        # A visit that stands for several comes evenly: the sum of many hardly varies.
        at += (-log(1 - random.random()) if one_in == 1 else 1.0) / rate
        if at >= end:
            return
        yield at
