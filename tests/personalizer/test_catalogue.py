from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Sequence

import pytest

from moe_middleware import MoEngageClient, Settings
from moe_middleware.models.errors import RateLimitedError
from moe_middleware.models.experience import ExperienceMetadata
from moe_middleware.personalizer.catalogue import FIRST_RETRY, Catalogue
from moe_middleware.sandbox import Sandbox

from ..servers import PATIENCE

INTERVAL = 300.0
KEYS = ("homepage-banner", "promo-strip")
"""Active in the sandbox's sample workspace."""


class Pauses:
    """Stands in for sleeping: tells of each pause, and ends it when the test says."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[float] = asyncio.Queue()
        self._over = asyncio.Semaphore(0)

    async def __call__(self, seconds: float) -> None:
        self.begun.put_nowait(seconds)
        await self._over.acquire()

    async def next(self) -> float:
        """Wait until it pauses; return for how long it would."""
        async with asyncio.timeout(PATIENCE):
            return await self.begun.get()

    def end(self) -> None:
        self._over.release()


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[MoEngageClient]:
    async with MoEngageClient(Settings(data_center="sandbox")) as made:
        yield made


def catalogue(
    client: MoEngageClient, *keys: str, interval: float = INTERVAL
) -> Catalogue:
    return Catalogue(
        keys or KEYS, client.metadata, interval=interval, jitter=lambda: 1.0
    )


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "moe_middleware.personalizer.catalogue"
    ]


@pytest.fixture(autouse=True)
def every_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="moe_middleware.personalizer.catalogue")


# --- what it knows ---------------------------------------------------------


async def test_before_a_look_every_key_is_worth_asking_for_then_active_ones_are(
    client: MoEngageClient, sandbox: Sandbox
) -> None:
    sandbox.define("hero1", {"Title": "Sale"}, status="Paused")
    made = catalogue(client)
    before = made.is_active("nonsense")

    pause = await made.look()

    assert before
    assert pause == INTERVAL
    keys = ("homepage-banner", "autumn-hero", "hero1", "nonsense")
    assert [made.is_active(key) for key in keys] == [True, False, False, False]
    assert sandbox.calls["metadata"] == 1
    sandbox.define("hero1", {"Title": "Sale"}, status="Active")
    await made.look()
    assert made.is_active("hero1")


async def test_an_empty_list_is_as_good_as_none(
    client: MoEngageClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    made = catalogue(client)
    await made.look()
    for key in ("homepage-banner", "promo-strip", "price-badge", "cart-upsell"):
        sandbox.define(key, {"Title": "Sale"}, status="Draft")

    pauses = [await made.look(), await made.look()]

    assert made.is_active("homepage-banner")
    assert made.is_active("nonsense")
    assert pauses == [INTERVAL, INTERVAL]
    [line] = lines(caplog)
    assert line.startswith("metadata_empty")


@pytest.mark.parametrize("fault", [{"status": 401}, {"garbage": True}, {"drop": True}])
async def test_a_look_that_fails_changes_nothing_and_is_reported_once(
    client: MoEngageClient,
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
    fault: dict[str, object],
) -> None:
    made, new = catalogue(client), catalogue(client, interval=30)
    await made.look()

    sandbox.fault("metadata", times=None, **fault)  # type: ignore[arg-type]
    pauses = [await made.look() for _ in range(3)]
    during = (made.is_active("homepage-banner"), made.is_active("nonsense"))
    logged = lines(caplog)
    of_a_new_one = [await new.look() for _ in range(5)]
    sandbox.reset()
    pause = await made.look()

    assert during == (True, False)
    assert pauses == [FIRST_RETRY, 2 * FIRST_RETRY, 4 * FIRST_RETRY]
    assert (pause, max(of_a_new_one)) == (INTERVAL, 30)
    assert new.is_active("nonsense")
    assert [line.split()[0] for line in logged] == ["metadata_failed"]
    assert lines(caplog)[-1].startswith("metadata_back")


@pytest.mark.parametrize(
    ("retry_after", "pause"),
    [(None, FIRST_RETRY), (7.0, 7.0 + FIRST_RETRY), (1e9, 60.0 + FIRST_RETRY)],
)
async def test_a_refusal_says_when_to_look_again_within_reason(
    retry_after: float | None, pause: float
) -> None:
    async def metadata(_: Sequence[str]) -> list[ExperienceMetadata]:
        raise RateLimitedError(retry_after=retry_after)

    made = Catalogue(KEYS, metadata, interval=INTERVAL, jitter=lambda: 1.0)

    assert await made.look() == pause


# --- what it tells ---------------------------------------------------------


async def test_keys_that_are_not_active_are_reported_once(
    client: MoEngageClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    keys = ("homepage-baner", "zzzzz", "promo-strip", "autumn-hero", "winter-sale")
    made = catalogue(client, *keys)

    await made.look()
    calls = sandbox.calls["metadata"]
    await made.look()
    levels = [record.levelname for record in caplog.records]
    sandbox.define("promo-strip", {"Title": "Sale"}, status="Paused")
    await made.look()

    assert [line.split(" hint=")[0] for line in lines(caplog)] == [
        "experience_unknown key=homepage-baner did_you_mean=homepage-banner",
        "experience_unknown key=zzzzz did_you_mean=-",
        "experience_not_active key=autumn-hero status=Paused",
        "experience_not_active key=winter-sale status=Scheduled",
        # It was paused in the meantime.
        "experience_not_active key=promo-strip status=Paused",
    ]
    assert levels == ["WARNING", "WARNING", "INFO", "INFO"]
    assert "not published" in caplog.text
    assert calls == 2


async def test_where_the_explanation_fails_the_next_look_explains(
    client: MoEngageClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    failures = iter([True])

    async def metadata(statuses: Sequence[str]) -> Sequence[ExperienceMetadata]:
        if not statuses and next(failures, False):
            sandbox.fault("metadata", status=400)
        return await client.metadata(statuses)

    made = Catalogue(["nonsense"], metadata, interval=INTERVAL)
    await made.look()
    before = lines(caplog)
    await made.look()

    assert before == []
    [line] = lines(caplog)
    assert line.startswith("experience_unknown key=nonsense")


async def test_a_listed_key_cannot_break_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hostile = "hero2\nERROR all is lost"

    async def metadata(_: Sequence[str]) -> list[ExperienceMetadata]:
        return [
            ExperienceMetadata(key=key, name="", status="Active")
            for key in (hostile, "hero1x")
        ]

    made = Catalogue(["hero1"], metadata, interval=INTERVAL)
    await made.look()

    assert "did_you_mean=hero1x" in caplog.text
    assert "all is lost" not in caplog.text


# --- its life --------------------------------------------------------------


async def test_it_looks_at_once_and_after_each_pause_until_it_is_stopped(
    client: MoEngageClient, sandbox: Sandbox
) -> None:
    pauses = Pauses()
    made = Catalogue(
        KEYS, client.metadata, interval=INTERVAL, sleep=pauses, jitter=lambda: 0.0
    )
    never = catalogue(client, interval=0)

    def tasks() -> list[asyncio.Task[None]]:
        found = asyncio.all_tasks()
        return [task for task in found if task.get_name() == "moe-catalogue"]

    never.start()
    for _ in range(2):
        made.start()
    first = await pauses.next()
    calls, running = sandbox.calls["metadata"], tasks()
    pauses.end()
    await pauses.next()
    for _ in range(2):
        await made.stop()
    left = tasks()
    looked = sandbox.calls["metadata"]
    made.start()
    await pauses.next()
    await made.stop()

    assert first == pytest.approx(0.9 * INTERVAL)
    assert (calls, looked, sandbox.calls["metadata"]) == (1, 2, 3)
    assert (len(running), left) == (1, [])
    assert not made.is_active("elsewhere") and never.is_active("elsewhere")


async def test_stopping_it_during_a_look_cancels_the_look(
    client: MoEngageClient, sandbox: Sandbox
) -> None:
    sandbox.fault("metadata", latency=600)
    made = catalogue(client)
    made.start()
    async with asyncio.timeout(PATIENCE):
        while not sandbox.calls["metadata"]:
            await asyncio.sleep(0.001)
        await made.stop()

    assert made.is_active("nonsense")


async def test_a_second_event_loop_makes_no_second_call(
    client: MoEngageClient, sandbox: Sandbox
) -> None:
    pauses = Pauses()
    made = Catalogue(KEYS, client.metadata, interval=INTERVAL, sleep=pauses)
    made.start()
    await pauses.next()

    async def start_and_stop() -> None:
        made.start()
        await asyncio.sleep(0.01)
        await made.stop()

    await asyncio.to_thread(lambda: asyncio.run(start_and_stop()))
    pauses.end()
    await pauses.next()
    await made.stop()

    assert sandbox.calls["metadata"] == 2


def test_another_event_loop_takes_over_from_one_that_has_ended(
    sandbox: Sandbox,
) -> None:
    client = MoEngageClient(Settings(data_center="sandbox"))
    looks: list[asyncio.AbstractEventLoop] = []

    async def metadata(_: Sequence[str]) -> list[ExperienceMetadata]:
        looks.append(asyncio.get_running_loop())
        return await client.metadata(("Active",))

    made = Catalogue(KEYS, metadata, interval=INTERVAL)

    async def start() -> None:
        count = len(looks)
        made.start()
        async with asyncio.timeout(PATIENCE):
            while len(looks) == count:
                await asyncio.sleep(0.001)

    asyncio.run(start())
    asyncio.run(start())

    assert len(set(looks)) == len(looks) == 2


def test_a_loop_that_was_left_and_runs_again_stops_looking(sandbox: Sandbox) -> None:
    looks: list[str] = []

    async def metadata(_: Sequence[str]) -> list[ExperienceMetadata]:
        looks.append(threading.current_thread().name)
        return []

    async def sleep(_: float) -> None:
        await asyncio.sleep(0)

    async def run_until(count: int) -> None:
        made.start()
        async with asyncio.timeout(PATIENCE):
            while len(looks) < count:
                await asyncio.sleep(0)

    made = Catalogue(KEYS, metadata, interval=INTERVAL, sleep=sleep)
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    first.run_until_complete(run_until(3))
    [left] = asyncio.all_tasks(first)
    second.run_until_complete(run_until(len(looks) + 3))

    first.run_until_complete(asyncio.wait_for(left, PATIENCE))
    second.run_until_complete(made.stop())
    first.close()
    second.close()

    assert not left.cancelled()


def test_a_forked_child_looks_for_itself(sandbox: Sandbox) -> None:
    client = MoEngageClient(Settings(data_center="sandbox"))
    made = Catalogue(["homepage-banner"], client.metadata, interval=INTERVAL)

    async def start_and_fork() -> int:
        made.start()
        child = os.fork()
        if child == 0:
            code = 99
            try:
                asyncio.events._set_running_loop(None)
                code = asyncio.run(look_in_child())
            finally:
                os._exit(code)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        await made.stop()
        return os.waitstatus_to_exitcode(status)

    async def look_in_child() -> int:
        made.start()
        async with asyncio.timeout(PATIENCE):
            while made.is_active("nonsense"):
                await asyncio.sleep(0.001)
        await made.stop()
        return 0

    assert asyncio.run(start_and_fork()) == 0
