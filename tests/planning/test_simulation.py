"""The plan's simulation beside the middleware itself, and beside the closed formula."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from moe_middleware import MoEngageMiddleware
from moe_middleware.personalizer.open_runtimes import runtime_for
from moe_middleware.planning.formula import (
    fetches_a_minute,
    fetches_after_the_hour,
    fetches_of_a_visit,
)
from moe_middleware.planning.simulation import NOON, seconds_before, simulate
from moe_middleware.planning.site import LOWEST_OF_PEAK, Setup, Traffic
from moe_middleware.planning.traffic import requests
from moe_middleware.sandbox import Sandbox

from ..sites import Clock, settings

KINDS = (("homepage-banner", "promo-strip"), ("price-badge",))
SMALL = Traffic(visitors=5_000, pages=3, pause=30, minutes=10, kinds=KINDS)
"""Some 200 visits around a full hour."""


class Processes:
    """Server processes of a site, each with a cache of its own, on one clock."""

    def __init__(self, setup: Setup) -> None:
        self.clock, self.stopwatch = Clock(NOON), Clock(NOON)
        sites = [
            settings(
                routes=[
                    {"path": f"/{number}", "experiences": keys}
                    for number, keys in enumerate(KINDS)
                ],
                cache={"ttl": setup.ttl, "stale": setup.stale},
                # Settings that differ have a cache of their own, as processes have.
                events={"outbox": "memory:", "max_events": 1_000 + process},
            )
            for process in range(setup.all_processes)
        ]
        self.runtimes = [
            runtime_for(site, clock=self.clock, stopwatch=self.stopwatch)
            for site in sites
        ]
        self.apps = [MoEngageMiddleware(_pages(), config=site) for site in sites]

    async def serve(self, traffic: Traffic, setup: Setup) -> int:
        """Let the simulation's visits come; return the fetches of its minutes."""
        before = seconds_before(traffic, setup)
        drawn = requests(traffic, setup, before=before, one_in=1, seed=1)
        earlier = None
        async with AsyncExitStack() as stack:
            browsers = [
                await stack.enter_async_context(
                    httpx.AsyncClient(
                        transport=httpx.ASGITransport(app), base_url="http://shop"
                    )
                )
                for app in self.apps
            ]
            for one in drawn:
                if earlier is None and one.at >= 0:
                    earlier = self.fetches()
                now = NOON - traffic.minutes * 30 + one.at
                self.clock.now = self.stopwatch.now = now
                cookie = {"cookie": f"customer_id={one.visitor.hex()}"}
                browser = browsers[one.process]
                answer = await browser.get(f"/{one.kind}", headers=cookie)
                assert answer.is_success
            for runtime in self.runtimes:
                await runtime.stop()
        return self.fetches() - (earlier or 0)

    def fetches(self) -> int:
        """Return how many fetches all of them have made."""
        return sum(
            int(count)
            for runtime in self.runtimes
            for name, count in runtime.counters.snapshot().items()
            if name.startswith("calls.fetch.")
        )


def _pages() -> Starlette:
    async def page(request: Request) -> Response:
        return PlainTextResponse(str(len(request.state.experiences)))

    return Starlette(routes=[Route("/{kind}", page)])


@pytest.mark.parametrize(
    "setup",
    [
        Setup(processes=1, stale=0),
        Setup(processes=3, ttl=20, stale=0),
        Setup(processes=1, ttl=300, stale=300),
        Setup(processes=3, ttl=300, stale=60),
    ],
)
async def test_the_simulation_fetches_as_often_as_the_middleware(
    setup: Setup, sandbox: Sandbox
) -> None:
    played = simulate(SMALL, setup, seed=1)
    real = await Processes(setup).serve(SMALL, setup)

    assert real > 60
    # Which visitors come first after the hour depends on their ids, which differ.
    turns = 0.02 if 0 < setup.stale < setup.ttl else 0.0
    assert played.total("fetches") == pytest.approx(real, rel=turns)


@pytest.mark.parametrize(
    "setup",
    [
        Setup(processes=3, ttl=90),
        Setup(processes=3, ttl=300, shared=True),
        Setup(hosts=2, processes=2, sticky=True, ttl=20),
    ],
)
def test_the_simulation_agrees_with_the_closed_formula(setup: Setup) -> None:
    traffic = Traffic(visitors=20_000, pages=4, kinds=KINDS)
    # Without the hours' ends, and over the whole time, not in its busiest minute.
    steady = replace(setup, ttl=min(setup.ttl, 300))

    played = simulate(traffic, steady, bounded=False)

    minutes = [one for n, one in enumerate(played.minutes) if not 30 <= n < 36]
    a_page = sum(one.wanted for one in minutes) / sum(one.requests for one in minutes)
    by_formula = fetches_a_minute(traffic, steady) / traffic.busiest_visits
    assert a_page * traffic.pages == pytest.approx(by_formula, rel=0.05)


@pytest.mark.parametrize("pages", [1.0, 2.5, 20.0])
def test_the_formula_has_the_limits_that_one_expects(pages: float) -> None:
    assert fetches_of_a_visit(pages, 30, 0) == pytest.approx(pages)
    assert fetches_of_a_visit(pages, 30, 1e9) == pytest.approx(1)
    many = 10_000 * fetches_of_a_visit(pages, 30, 60, 1 / 10_000)
    assert many == pytest.approx(pages, rel=0.01)


@pytest.mark.parametrize(
    ("ttl", "stale", "shared", "least", "most"),
    [
        (900, 0, False, 2.0, 3.0),
        (900, 120, True, 1.3, 1.8),
        # Spread over ten minutes, or by each answer's own ttl.
        (900, 600, False, 0.8, 1.25),
        (300, 300, True, 0.8, 1.25),
    ],
)
def test_a_full_hour_is_the_spike_that_the_formula_says(
    ttl: float, stale: float, shared: bool, least: float, most: float
) -> None:
    traffic = Traffic(visitors=50_000)
    setup = Setup(processes=1, ttl=ttl, stale=stale, shared=shared)

    minutes = simulate(traffic, setup).minutes

    before = sum(one.wanted for one in minutes[27:30]) / 3
    after = [one.wanted for one in minutes[30:40]]
    assert least < max(after) / before < most
    by_formula = fetches_after_the_hour(traffic, setup)
    assert 0.7 < max(after) / by_formula < 1.35


@pytest.mark.parametrize("budget", ["process", "host", "all"])
def test_no_minute_has_more_fetches_than_the_quota(budget: Any) -> None:
    setup = Setup(hosts=2, processes=3, limit=30, budget=budget)

    played = simulate(Traffic(visitors=12_000), setup)

    busy = [one for one in played.minutes if one.wanted > 2 * setup.limit]
    assert busy
    assert all(one.fetches <= setup.limit for one in played.minutes)
    assert all(one.fetches >= 0.97 * setup.limit for one in busy)
    assert all(one.fallbacks for one in busy)
    # Each process learns of the quota's end by its own refusal, once a minute.
    assert all(one.refused <= setup.all_processes for one in busy)


def test_a_sample_of_the_visitors_gives_the_figures_of_all() -> None:
    setup = Setup(processes=2, ttl=120)
    small, large = Traffic(visitors=10_000), Traffic(visitors=10_000_000)

    one, many = (
        simulate(small, setup, bounded=False),
        simulate(large, setup, bounded=False),
    )

    assert (one.one_in, many.one_in > 50) == (1, True)
    assert many.mean("wanted") / 1000 == pytest.approx(one.mean("wanted"), rel=0.05)
    assert many.p99("cached_bytes") / 1000 == pytest.approx(
        one.p99("cached_bytes"), rel=0.1
    )


def test_a_cache_without_room_finds_less() -> None:
    traffic = Traffic(visitors=10_000, pause=60)
    roomy = Setup(processes=1, ttl=900)

    cramped = simulate(traffic, replace(roomy, max_bytes=10_000))
    usual = simulate(traffic, roomy)

    assert cramped.is_full
    assert not usual.is_full
    assert max(one.cached_bytes for one in cramped.minutes) <= 10_000
    assert cramped.total("fresh") < 0.8 * usual.total("fresh")


def test_visitors_without_an_id_share_their_answers() -> None:
    few, many = (Traffic(visitors=one, nameless=1) for one in (10_000, 10_000_000))

    fetches = [simulate(one, Setup(processes=1)).total("wanted") for one in (few, many)]

    # One fetch a minute, and one more for the new hour.
    assert all(50 < one <= 61 for one in fetches)
    assert many.events_a_day == 0


def test_long_visits_are_under_way_when_the_minutes_begin() -> None:
    traffic = Traffic(visitors=1_000, pages=100, pause=600)

    minutes = simulate(traffic, Setup(processes=1)).minutes

    # Visits of 16 hours do not follow the minutes: they have the traffic of before.
    usual = LOWEST_OF_PEAK * traffic.busiest_visits * traffic.pages
    mean = sum(one.requests for one in minutes) / len(minutes)
    assert mean == pytest.approx(usual, rel=0.1)


def test_more_than_25_keys_are_several_fetches() -> None:
    few = Traffic(visitors=1_000, kinds=(tuple(map(str, range(25))),))
    many = replace(few, kinds=(tuple(map(str, range(26))),))

    fetches = [
        simulate(traffic, Setup(processes=1)).total("fetches")
        for traffic in (few, many)
    ]

    assert fetches[1] == 2 * fetches[0]


def test_attributes_that_change_cost_fetches() -> None:
    steady = Traffic(visitors=2_000)

    counts = [
        simulate(traffic, Setup(processes=1, ttl=900)).total("fetches")
        for traffic in (steady, replace(steady, changes=2))
    ]

    assert counts[1] > 2 * counts[0]


def test_the_same_seed_gives_the_same_figures() -> None:
    traffic, setup = Traffic(visitors=1_000), Setup(shared=True)

    assert simulate(traffic, setup) == simulate(traffic, setup)
    assert simulate(traffic, setup) != simulate(traffic, setup, seed=2)
