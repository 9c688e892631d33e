"""Fetches of a visit, as a closed formula. Pure.

A visit has P pages on average: after each it ends with the probability 1/P. Between two
of them are p seconds on average. Of the pages, one in n goes to the same cache (n
processes without a shared cache), or asks the same keys. Then

    q = 1 - 1/P                     a page is followed by another
    r = 1/n / (1 - q * (1 - 1/n))   the visit comes to this cache (again)
    s = q * exp(-ttl / (p * P)) * r once fetched, it comes again, after the ttl
    fetches of a visit = n * r / (1 - s)

With one cache this is 1 / (1 - q * exp(-ttl / (p * P))): P for a ttl of 0, and 1 for a
long one.

At each full hour the cache key changes, as MoEngage is sent the hour. With a ``stale``
of at least the ttl this costs nothing: answers of the last hour stand in until their
ttl is over. Without any, a visitor who is there then is fetched for again at the next
page. By Little's law (P - 1) * p seconds' visitors are there, and within a minute a
share of 1 - exp(-60 / p) has a next page. A shorter ``stale`` spreads these fetches.
"""

from __future__ import annotations

from math import exp

from ..client.wire import split_keys
from .site import Setup, Traffic


def fetches_of_a_visit(
    pages: float, pause: float, ttl: float, share: float = 1.0
) -> float:
    """Return how often a visit's pages find no fresh answer in one cache, on average.

    Args:
        pages: Pages of a visit.
        pause: Seconds between two pages.
        ttl: How long an answer is fresh, in seconds.
        share: The share of the pages that come to this cache.
    """
    again = 1 - 1 / pages
    comes = share / (1 - again * (1 - share))
    return comes / (1 - again * exp(-ttl / (pause * pages)) * comes)


def fetches_a_minute(traffic: Traffic, setup: Setup) -> float:
    """Return the fetches of the busiest minute, without a limit."""
    visits = traffic.busiest_visits * (1 - traffic.nameless)
    places = 1 if setup.shared else setup.places
    total = 0.0
    for share, keys in zip(traffic.popularity, traffic.kinds, strict=True):
        misses = places * fetches_of_a_visit(
            traffic.pages, traffic.pause, setup.ttl, share / places
        )
        total += visits * misses * len(split_keys(keys))
    return total


def fetches_after_the_hour(traffic: Traffic, setup: Setup) -> float:
    """Return the fetches of the first minute of an hour, without a limit."""
    visits = traffic.busiest_visits * (1 - traffic.nameless)
    there = visits / 60 * (traffic.pages - 1) * traffic.pause
    places = 1 if setup.shared else setup.places
    total = visits * traffic.fetches_of_a_page
    for share, keys in zip(traffic.popularity, traffic.kinds, strict=True):
        part = share / places
        again = places * (1 - exp(-60 / traffic.pause * part))
        total += there * again * len(split_keys(keys))
    pages = visits * traffic.pages * traffic.fetches_of_a_page
    usual = fetches_a_minute(traffic, setup)
    # Visitors take turns in the seconds of ``stale``, as ``last_hour`` says.
    spread = 0.0 if setup.stale >= setup.ttl else 60 / max(60.0, setup.stale)
    return usual + spread * max(0.0, min(pages, total) - usual)
