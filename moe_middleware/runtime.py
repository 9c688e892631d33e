"""The parts of one configuration, put together, and their life in this process."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from .cache import MemoryCache
from .client import MoEngageClient
from .errors import Problem, SettingsError
from .outbox import open_outbox
from .personalizer import Personalizer
from .relay import Relay
from .settings import Settings

logger = logging.getLogger(__name__)


class Runtime:
    """A personalizer and what it works with, shared by all that use one configuration.

    Making one opens nothing. ``start`` sets a relay going on the running event loop,
    ``stop`` ends it there; where a server gives us neither, the first request starts
    it and the interpreter's exit delivers what it can.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.client = MoEngageClient(settings)
        self.outbox = open_outbox(settings.events.outbox)
        cache = settings.cache
        self.cache = MemoryCache(
            ttl=cache.ttl, stale=cache.stale, max_entries=cache.max_entries
        )
        self.personalizer = Personalizer(
            settings, client=self.client, cache=self.cache, outbox=self.outbox
        )
        self._relays: WeakKeyDictionary[
            asyncio.AbstractEventLoop, asyncio.Task[None]
        ] = WeakKeyDictionary()

    def start(self) -> None:
        """See to it that a relay runs on the running event loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._relays:
            self._relays[loop] = loop.create_task(self._relay().run(), name="moe-relay")
            _started.add(self)

    async def stop(self) -> None:
        """End this loop's relay and deliver what waits, within the shutdown timeout.

        What is not delivered stays in the outbox for the next start.
        """
        running = self._relays.pop(asyncio.get_running_loop(), None)
        if running is not None:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
        await self._relay().drain(self.settings.events.shutdown_timeout)
        await self.client.aclose()
        self.outbox.close()
        _started.discard(self)

    def _relay(self) -> Relay:
        events = self.settings.events
        return Relay(
            self.outbox,
            self.client.report,
            interval=events.interval,
            lease_for=events.lease,
        )


def runtime_for(
    config: str | os.PathLike[str] | Settings | None, **keywords: str | None
) -> Runtime:
    """Return the runtime of a configuration: the same one for the same configuration.

    Frameworks may build a middleware many times over; they all share one cache, one
    outbox and one relay.

    Args:
        config: A settings file, settings, or None for ``MOE_CONFIG``, else ``moe.yml``.
        keywords: What to set over the file and the environment; None is not given.

    Raises:
        SettingsError: The configuration is wrong; it lists every mistake.
    """
    given: dict[str, Any] = {
        name: value for name, value in keywords.items() if value is not None
    }
    if isinstance(config, Settings):
        if given:
            message = f"set {', '.join(given)} in the Settings that are given too"
            raise SettingsError([Problem(where="keywords", message=message)])
        settings, name = config, str(id(config))
    else:
        settings = Settings.load(config, **given)
        keys = [key.get_secret_value() for key in settings.workspace.keys]
        name = f"{settings.model_dump_json()}{keys}"
    runtime = _runtimes.get(name)
    if runtime is None:
        runtime = _runtimes[name] = Runtime(settings)
    return runtime


def clear_caches() -> None:
    """Let every runtime of this process ask the API anew, as one test after another."""
    for runtime in list(_runtimes.values()):
        runtime.cache.clear()


_runtimes: WeakValueDictionary[str, Runtime] = WeakValueDictionary()
_started: set[Runtime] = set()


@atexit.register
def _stop_all() -> None:
    """Deliver at exit what no server's shutdown has; all within one timeout."""

    async def stop_all() -> None:
        await asyncio.gather(*(runtime.stop() for runtime in list(_started)))

    if _started:
        try:
            asyncio.run(stop_all())
        except Exception as error:
            logger.warning("exit_delivery_failed error=%s", type(error).__name__)
