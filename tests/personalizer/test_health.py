"""The answer to a readiness probe."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import orjson
import pytest

from moe_middleware import health
from moe_middleware.sandbox import Sandbox

from ..makers import event
from ..sites import Site


def site_at(folder: Path) -> Site:
    """Return a site whose events wait in a file there."""
    return Site(events={"outbox": f"sqlite:///{folder}/outbox.db", "relay": "off"})


async def test_a_good_day_lists_every_process_on_the_outbox(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    site = site_at(tmp_path)
    await site.get(customer="alice")

    state = await site.runtime.health()
    everything = await health()
    while not (all_ := await site.runtime.health(everyone=True))["processes"]:
        await asyncio.sleep(0.05)
    await site.runtime.stop()

    assert (state["ok"], state["breaker"]) == (True, "closed")
    assert state["cache"]["answers"] == 1
    assert state["cache"]["bytes"] > 0
    assert (state["outbox"]["waiting"], state["outbox"]["dead"]) == (1, 0)
    assert state["counters"]["answers.api"] == 1
    assert state["counters"]["events.appended"] == 1
    assert state in everything
    [mine] = all_["processes"]
    assert (mine["role"], mine["silent"], mine["breaker"]) == (
        "server",
        False,
        "closed",
    )
    assert mine["counters"]["answers.api"] == 1
    # With the relay off, those of other processes count, and there is none.
    assert state["relay"]["relays"] == 0
    assert "processes" not in state


async def test_an_outbox_that_cannot_be_written_is_not_ready(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    site = site_at(tmp_path / "missing")

    page = await site.get(customer="alice")
    state = await site.runtime.health()
    await site.runtime.stop()

    assert "Welcome" not in page.text
    assert state["ok"] is False
    assert state["outbox"]["problem"]


async def test_an_outage_of_the_api_is_no_reason_to_be_taken_out(
    sandbox: Sandbox,
) -> None:
    site = Site(fetch={"tries": 1})
    sandbox.fault(path="fetch", status=503, times=None)
    for number in range(6):
        await site.get(customer=f"c{number}")

    state = await site.runtime.health()

    assert (state["ok"], state["breaker"]) == (True, "open")


async def test_refused_credentials_are_a_problem_by_name(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    site = site_at(tmp_path)
    sandbox.fault(path="fetch", status=401, times=None)
    await site.get(customer="alice")

    state = await site.runtime.health()
    await site.runtime.stop()

    assert (state["ok"], state["problem"]) == (True, "credentials refused")


@pytest.mark.parametrize(("age", "problem"), [(90, "no relay"), (5, None)])
async def test_the_problem_of_a_relay_of_its_own_is_the_sites(
    sandbox: Sandbox, tmp_path: Path, age: int, problem: str | None
) -> None:
    site, now = site_at(tmp_path), int(time.time())
    outbox = site.runtime.outbox
    outbox.append([event(occurred_at=now - age)])
    await outbox.flush()
    await site.get(customer="alice")
    # A relay that is just being restarted is no problem yet.
    alone = await site.runtime.health()
    state = {"failures": 2, "problem": "credentials refused"}
    relay = {**state, "failed_at": now, "next_try_at": now + 9}
    note = {"role": "relay", "noted_at": now, "relay": relay}
    await outbox.note("host:1:relay", orjson.dumps(note))
    refused = await site.runtime.health()
    await site.runtime.stop()

    assert (alone["ok"], alone["problem"]) == (True, problem)
    assert (refused["ok"], refused["problem"]) == (True, "credentials refused")
