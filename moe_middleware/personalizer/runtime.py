"""Builds the parts of one configuration, and runs them in this process."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from threading import get_ident
from typing import Any
from weakref import WeakSet, ref

from pydantic import SecretStr

from ..cache import MemoryCache, open_shared_cache
from ..client.budget import open_budget
from ..client.client import MoEngageClient
from ..client.failures import advice
from ..client.key_files import KeyFiles
from ..concurrency.background_loop import background
from ..concurrency.event_loops import PerLoop
from ..concurrency.fork_hooks import register_fork_hooks
from ..logs.repeated_lines import flush_repeats
from ..models.errors import OutboxError
from ..models.observers import Counters
from ..models.reasons import Reason
from ..outbox import open_outbox
from ..outbox.processes import ProcessNotes
from ..outbox.relay import Relay
from ..outbox.relay_state import RelayState
from ..settings.replacements_in_tests import remove_follower
from ..settings.settings import Settings
from ..telemetry.sampling import Sampler
from .catalogue import Catalogue
from .fetcher import Fetcher
from .health import HealthState, describe, state_of
from .observing import observer_of, telemetry_of
from .own_endpoints import own_endpoints
from .personalizer import Personalizer
from .start_warnings import warn_at_start, warn_of_sandboxes

logger = logging.getLogger(__name__)

STORE_WITHIN = 1.0
"""Seconds that a stopping process has at least to store its last events."""


class Runtime:
    """A personalizer and its parts, shared by all users of one configuration.

    Making one opens nothing. ``start`` starts a relay on the running event loop,
    ``stop`` stops it there; if a server calls neither, the first request starts it, and
    at exit the interpreter delivers what it can.

    Args:
        clock: Returns the time, in unix seconds.
        stopwatch: Returns the seconds of a clock that never jumps.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.time,
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.counters = Counters()
        self.telemetry = telemetry_of(settings)
        self.observer = observer_of(settings, self.counters, self.telemetry.all)
        self.budget = open_budget(
            settings.budget.store,
            settings.budget.calls_per_minute,
            workspace_id=settings.workspace.id,
            # The API may only lower a limit that is set in the file.
            fixed="calls_per_minute" in settings.budget.model_fields_set,
            smooth=settings.budget.pace == "smooth",
        )
        self.client = MoEngageClient(
            settings, budget=self.budget, observer=self.observer
        )
        # A test exchanges the whole runtime.
        remove_follower(self.client)
        self.key_files = KeyFiles(settings, self._use_keys)
        self._relays: WeakSet[Relay] = WeakSet()
        self.outbox = open_outbox(
            settings.events,
            workspace_id=settings.workspace.id,
            observer=self.observer,
        )
        self.catalogue = Catalogue(
            [key for route in settings.routes for key in route.experiences],
            self.client.metadata,
            interval=settings.metadata_interval,
            advise=partial(advice, settings.workspace),
        )
        cache = settings.cache
        self.cache = MemoryCache(
            ttl=cache.ttl,
            stale=cache.stale,
            max_entries=cache.max_entries,
            max_bytes=cache.max_bytes,
            clock=stopwatch,
        )
        self.shared_cache = open_shared_cache(settings, self.observer)
        self.fetcher = Fetcher(
            self.client,
            self.cache,
            self.shared_cache,
            timeout=settings.fetch.timeout,
            observer=self.observer,
            advise=partial(advice, settings.workspace),
            stopwatch=stopwatch,
            joined=self.telemetry.joined,
        )
        self.personalizer = Personalizer(
            settings,
            fetcher=self.fetcher,
            cache=self.cache,
            shared_cache=self.shared_cache,
            outbox=self.outbox,
            catalogue=self.catalogue,
            observer=self.observer,
            clock=clock,
            stopwatch=stopwatch,
            trace=self.telemetry.trace,
        )
        self.sampler = Sampler(self.cache, self.outbox, self.telemetry.all)
        self._lives = PerLoop(self._begin_life, end=self._end_life)
        self._left_events_behind = False
        # The event loop that it was started on last, and its thread. Every request
        # reads it: asking asyncio for the running loop takes a call of the system.
        self.last: tuple[Callable[[], asyncio.AbstractEventLoop | None], int] = _NO_LOOP
        # An embedded sandbox is one for each process.
        met = warn_of_sandboxes if settings.workspace.embedded else None
        self.notes = ProcessNotes(self.outbox, "server", self._describe, met=met)
        # An iterator, so that only one of several loops gets the value.
        self._unlogged = iter((True,))

        self.own_paths = own_endpoints(settings, self.personalizer, self.outbox)
        # Functions registered last run first: the outbox's runs after ours.
        atexit.unregister(_stop_all)
        atexit.register(_stop_all)

    def start(self) -> asyncio.AbstractEventLoop:
        """Start the background tasks on the running event loop, and return that."""
        loop = asyncio.get_running_loop()
        if loop is self.last[0]():
            return loop
        self.last = ref(loop), get_ident()
        if self._lives.get() is None:
            if next(self._unlogged, False):
                others = [one.settings for one in list(_started)]
                warn_at_start(self.settings, self.catalogue, others)
            self._lives.current()
            self.catalogue.start()
            _started.add(self)
        return loop

    def start_in_background(self) -> asyncio.AbstractEventLoop:
        """Do the same as ``start`` on the process's own loop thread."""
        loop = background.loop
        if loop is not self.last[0]():
            background.run(self._start())
        return loop

    async def _start(self) -> None:
        self.start()

    async def stop(self) -> None:
        """Stop this loop's relay; deliver events within the shutdown timeout.

        Undelivered events stay in the outbox for the next start.
        """
        until = time.monotonic() + self.settings.events.shutdown_timeout
        # The next request must start it again, on whichever loop.
        self.last = _NO_LOOP
        life = self._lives.pop()
        await self.catalogue.stop()
        events = self.settings.events
        if events.relay == "on":
            # Before the client closes, which it needs.
            relay = life.relay if life is not None and life.relay else self.new_relay()
            await relay.drain(events.shutdown_timeout)
        for task in life.tasks if life is not None else ():
            task.cancel()
        await self.notes.end()
        await self.fetcher.aclose()
        await self.client.aclose()
        await self.budget.aclose()
        if self.shared_cache is not None:
            await self.shared_cache.aclose()
        self.outbox.close(timeout=max(STORE_WITHIN, until - time.monotonic()))
        _started.discard(self)
        flush_repeats()

    async def deliver(self, timeout: float) -> None:
        """Deliver all waiting events within ``timeout`` seconds, and go on."""
        await self.new_relay().drain(timeout)

    async def health(self, *, everyone: bool = False) -> HealthState:
        """Return the state of this configuration, for a readiness probe or a status
        page; see ``runtimes.health``.

        It never raises, and takes about a second at most.
        """
        relay_here = self.settings.events.relay == "on"
        return await state_of(
            self.outbox, self._describe(), relay_here=relay_here, everyone=everyone
        )

    def _describe(self) -> dict[str, Any]:
        """Return the state of this process, as JSON values."""
        relay = None
        if self.settings.events.relay == "on":
            relays = [life.relay for life in self._lives.values() if life.relay]
            relay = relays[0].state if relays else RelayState()
        return describe(self.fetcher.breaker, self.cache, relay, self.counters)

    def _begin_life(self) -> _Life:
        relay = self.new_relay() if self.settings.events.relay == "on" else None
        work = {"moe-warm": self._warm(), "moe-notes": self.notes.run()}
        if self.key_files.any:
            work["moe-key-files"] = self.key_files.watch()
        if self.telemetry.all:
            work["moe-samples"] = self.sampler.run()
        if relay is not None:
            work["moe-relay"] = relay.run()
        # In a context of their own: none is the request's that starts them.
        create = partial(asyncio.get_running_loop().create_task, context=Context())
        return _Life(relay, [create(one, name=name) for name, one in work.items()])

    async def _end_life(self, life: _Life) -> None:
        """Log once that a loop without a lifespan leaves events undelivered."""
        if life.relay is None or self._left_events_behind:
            return
        with contextlib.suppress(OutboxError, TimeoutError):
            async with asyncio.timeout(STORE_WITHIN):
                counts = await self.outbox.count()
            if waiting := counts.waiting + counts.unsaved:
                self._left_events_behind = True
                logger.warning("loop_ended waiting=%d: %s", waiting, _NO_LIFESPAN)

    async def _warm(self) -> None:
        """Connect before the first page; pages report failures."""
        if self.shared_cache is not None:
            await self.shared_cache.warm()
        await self.budget.warm()
        await self.client.warm()

    def new_relay(self) -> Relay:
        """Return a relay that delivers this configuration's outbox."""
        events = self.settings.events
        relay = Relay(
            self.outbox,
            self.telemetry.traced(self.client.report),
            parallel=events.parallel,
            interval=events.interval,
            lease_for=events.lease,
            max_age=events.max_age,
            observer=self.observer,
        )
        self._relays.add(relay)
        return relay

    def _use_keys(self, keys: Sequence[SecretStr]) -> None:
        """Use new API keys from now on, also if the old ones were just refused."""
        self.client.use_keys(keys)
        # Pauses that the old keys caused are over.
        self.fetcher.breaker.rouse(Reason.UNAUTHORIZED)
        for relay in list(self._relays):
            relay.rouse()


_NO_LIFESPAN = (
    "this event loop ended without a lifespan's shutdown, so they are delivered by the "
    "next loop or at the process's exit; in a test use 'with TestClient(app) as client'"
)


@dataclass(slots=True)
class _Life:
    """The background tasks of one event loop."""

    relay: Relay | None
    tasks: list[asyncio.Task[None]]


def _no_loop() -> None:
    """A dead weak reference."""


_NO_LOOP = (_no_loop, 0)

_started: set[Runtime] = set()


def _forget_loops() -> None:
    # The loop that ran at a fork seems to run in the child, where it does not.
    for runtime in _started:
        runtime.last = _NO_LOOP


register_fork_hooks(after_in_child=_forget_loops)


def _stop_all() -> None:
    """Deliver remaining events at exit, all within one timeout."""

    async def stop_all() -> None:
        await asyncio.gather(*(runtime.stop() for runtime in list(_started)))

    if _started:
        timeout = max(one.settings.events.shutdown_timeout for one in _started)
        try:
            if background.is_running:
                background.run(stop_all(), timeout + STORE_WITHIN + 1)
            else:
                asyncio.run(stop_all())
        except Exception as error:
            logger.warning("exit_delivery_failed error=%s", type(error).__name__)
