"""Fixtures that every test may use."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import shutil
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, NoReturn

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from moe_middleware.concurrency.background_loop import background
from moe_middleware.logs.repeated_lines import flush_repeats
from moe_middleware.sandbox import Sandbox, embedded
from moe_middleware.sandbox.listeners import address_of, listen
from moe_middleware.sandbox.uvicorn import running

from . import forks

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from .redis_topologies import Cluster, Sentinels

NOT_IN_CHROMIUM = (
    # What the address bar shows below itself is a page of its own in each window. It
    # takes half of all the time that Chromium takes.
    *("WebUIOmniboxPopup", "WebUIOmniboxAimPopup"),
    # These are Playwright's, whose own list does not count beside another one.
    *("AvoidUnnecessaryBeforeUnloadCheckSync", "DestroyProfileOnBrowserClose"),
    *("HttpsUpgrades", "HttpsFirstBalancedModeAutoEnable", "LensOverlay"),
    *("MediaRouter", "PaintHolding", "ThirdPartyStoragePartitioning"),
    *("AvoidCorsURLLoaderRestartOnRedirect", "OptimizationHints"),
    *("NetworkTimeServiceQuerying", "AimEnabled", "PreconnectToSearch"),
)
"""Features that are switched off."""

# No deadline: other work of the machine may slow an example down. Each run takes other
# examples, so few are enough.
hypothesis_settings.register_profile(
    "patient",
    deadline=None,
    max_examples=50,
    stateful_step_count=30,
    suppress_health_check=[HealthCheck.too_slow],
)
hypothesis_settings.load_profile("patient")


def pytest_configure(config: pytest.Config) -> None:
    """Have one process for all workers that runs programs as its forks."""
    stack = ExitStack()
    stack.enter_context(forks.serving())
    config.add_cleanup(stack.close)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Exclude the collected tests from garbage collection: they live to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True)
def own_outboxes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests name their outboxes; our pytest plugin, which is loaded, sets none."""
    monkeypatch.delenv("MOE_OUTBOX", raising=False)


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    """Undo what a test does to the root logger, as a command's logging.basicConfig."""
    root = logging.getLogger()
    level, handlers = root.level, [*root.handlers]
    yield
    root.setLevel(level)
    for handler in [one for one in root.handlers if one not in handlers]:
        root.removeHandler(handler)


@pytest.fixture
def caplog(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Capture the log of this test alone, without repeated lines of earlier ones."""
    # The first time writes the counts, the second forgets the lines.
    flush_repeats()
    flush_repeats()
    caplog.clear()
    return caplog


@pytest.fixture(autouse=True, scope="module")
def _background_tasks() -> Iterator[None]:
    """Cancel the background tasks of a module's sites in this process's loop thread.

    Their relays would deliver into the sandbox of other modules' tests, and beside
    those that measure memory or draw random numbers; and each would write its failures
    into the log of another test.
    """
    yield
    if background.is_running:
        background.run(_end_tasks(), timeout=60)


async def _end_tasks() -> None:
    left = {one for one in asyncio.all_tasks() if one.get_name().startswith("moe-")}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three Redis that share the slots, and a replica of one of them."""
    from .redis_topologies import redis_cluster

    with redis_cluster(tmp_path_factory.mktemp("cluster"), replica=True) as made:
        yield made


@pytest.fixture(scope="session")
def sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sentinels]:
    """A Redis, its replica, and a sentinel that watches them."""
    from .redis_topologies import redis_sentinels

    with redis_sentinels(tmp_path_factory.mktemp("sentinels")) as made:
        yield made


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """The embedded sandbox of ``data_center: sandbox``, empty."""
    embedded().reset()
    yield embedded()
    embedded().reset()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real Chromium, which keeps pages alive to go back to."""
    from playwright.sync_api import sync_playwright

    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if path is None:
        missing_service("chromium")
    # Not for the whole session: where Playwright runs, no event loop of a test can.
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=path,
            args=[
                *("--no-sandbox", "--disable-gpu", "--disable-quic"),
                f"--disable-features={','.join(NOT_IN_CHROMIUM)}",
            ],
            ignore_default_args=["--disable-back-forward-cache"],
        )
        yield chromium
        chromium.close()


def missing_service(name: str) -> NoReturn:
    """Skip the test; fail with MOE_REQUIRE_SERVICES, which promises all services."""
    if os.environ.get("MOE_REQUIRE_SERVICES"):
        pytest.fail(f"{name} is missing")
    pytest.skip(f"{name} is missing")


@pytest.fixture
def address() -> Iterator[str]:
    """The address of a sandbox that is not the embedded one."""
    with listen() as listener:
        sandbox = Sandbox()
        sandbox.address = address_of(listener)
        with running(sandbox, listener):
            yield sandbox.address
