"""For the tests of a site: nothing that its settings name is reached, whatever it is.

pytest has fixtures for it (``moe_sandbox``), Django a test runner
(``moe_middleware.testing.django``); any other suite begins here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import SecretStr

from ..concurrency.background_loop import background
from ..personalizer.runtime import clear_caches, runtimes
from ..sandbox import Sandbox, Workspace, embedded
from ..sandbox.memory.state import Configured
from ..settings.settings import Settings
from ..settings.stand_ins import standing_in

INTERVAL = 0.05
"""Seconds between the relay's looks, so that a test has not long to wait."""


@contextmanager
def sandboxed(workspace: Configured | None = None) -> Iterator[Sandbox]:
    """Let every configuration of this process lead to the sandbox inside of it.

    The workspace's server, the outbox, the shared cache and the budget's store of any
    settings are replaced: by a file, by code, by Django's setting. What was opened
    before goes on with what it has, so this comes first.

    Args:
        workspace: What the sandbox has configured; None is nothing.

    Returns:
        That sandbox: it has seen nothing yet. Afterwards it is as it was.
    """
    sandbox = embedded()
    before = sandbox.workspace
    sandbox.workspace = Workspace() if workspace is None else workspace
    sandbox.reset()
    try:
        with led_to(sandbox):
            yield sandbox
    finally:
        sandbox.workspace = before
        sandbox.reset()


def use_sandbox() -> Sandbox:
    """Do what ``sandboxed`` does, to the end of this process."""
    return sandboxed().__enter__()


@contextmanager
def led_to(sandbox: Sandbox, base_url: str | None = None) -> Iterator[None]:
    """Let every configuration of this process lead to a sandbox.

    Args:
        sandbox: The one.
        base_url: Where it listens; None is within this process.
    """

    def changed(settings: Settings) -> Settings:
        return _led(settings, sandbox, base_url)

    clear_caches()
    try:
        with standing_in(changed):
            yield
    finally:
        clear_caches()


def deliver(timeout: float = 5.0) -> None:
    """Report at once what was counted so far, so that a test can look at it.

    Args:
        timeout: How long that may take, in seconds.
    """
    for runtime in runtimes():
        background.run(runtime.deliver(timeout))


def _led(settings: Settings, sandbox: Sandbox, base_url: str | None) -> Settings:
    called = sandbox.workspace
    bare = Settings(data_center="sandbox", events={"outbox": "memory:"})
    place = {
        "id": called.workspace_id,
        "api_key": SecretStr(called.api_keys[0]),
        "base_url": base_url,
    }
    memory = bare.events.outbox
    events = {"outbox": memory, "relay": "on", "interval": INTERVAL}
    return settings.model_copy(
        update={
            "workspace": bare.workspace.model_copy(update=place),
            "events": settings.events.model_copy(update=events),
            "cache": settings.cache.model_copy(update={"redis": None}),
            "budget": settings.budget.model_copy(update={"store": memory}),
        }
    )
