"""Runs a site's tests against a sandbox: no server or store of its settings is used.

pytest has fixtures for it (``moe_sandbox``), Django a test runner
(``moe_middleware.testing.django``); any other suite begins here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from pydantic import SecretStr

from ..concurrency.background_loop import background
from ..models.arguments import seconds_of
from ..personalizer.open_runtimes import clear_caches, exchanged, runtimes
from ..sandbox import Sandbox, Workspace, embedded
from ..sandbox.memory.state import Configured
from ..settings.replacements_in_tests import in_place_of, standing_in
from ..settings.settings import Settings

INTERVAL = 0.05
"""Seconds between the relay's polls, so that tests wait little."""


@contextmanager
def sandboxed(workspace: Configured | None = None) -> Iterator[Sandbox]:
    """Let every configuration of this process use an embedded sandbox.

    The workspace's server, the outbox, the shared cache and the budget's store of any
    settings are replaced: by a file, by code, by Django's setting. Apps that were
    wrapped before are led there too, as are clients and OpenFeature providers that were
    made before.

    Args:
        workspace: The sandbox's workspace; None is an empty one.

    Returns:
        The sandbox, without any calls so far. Afterwards the configurations are as
            before.
    """
    sandbox = embedded()
    before = sandbox.workspace
    # One process has one embedded sandbox: its workspace is exchanged, and put back.
    sandbox.workspace = Workspace() if workspace is None else workspace
    sandbox.reset()
    try:
        with led_to(sandbox):
            yield sandbox
    finally:
        sandbox.workspace = before
        sandbox.reset()


def use_sandbox() -> Sandbox:
    """Do the same as ``sandboxed``, until the end of this process."""
    return _for_good.enter_context(sandboxed())


# Without a reference to it, a context manager ends.
_for_good = ExitStack()


@contextmanager
def led_to(sandbox: Sandbox, base_url: str | None = None) -> Iterator[None]:
    """Let every configuration of this process use a sandbox.

    Args:
        sandbox: The sandbox.
        base_url: Its address; None if it is embedded.
    """

    def changed(settings: Settings) -> Settings:
        return _led(settings, sandbox, base_url)

    clear_caches()
    try:
        with standing_in(changed), exchanged():
            yield
    finally:
        clear_caches()


def deliver(timeout: float = 5.0) -> None:
    """Deliver all waiting events at once, so that a test can check them.

    Args:
        timeout: Seconds that this may take.

    Raises:
        TypeError, ValueError: ``timeout`` is no number of seconds.
    """
    timeout = seconds_of(timeout)
    for runtime in runtimes():
        # Not those of apps that were wrapped before: they are led elsewhere meanwhile.
        settings = runtime.settings
        if in_place_of(settings).fingerprint == settings.fingerprint:
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
            # Pages are as visitors get them.
            "development": bare.development,
        }
    )
