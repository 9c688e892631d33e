"""The parts of one configuration, put together, and their life in this process."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import blake2b
from typing import Any
from weakref import WeakSet, WeakValueDictionary, ref

from pydantic import SecretStr

from ..browser import SCRIPT, SCRIPT_NAME, SDK_SCRIPT, SDK_SCRIPT_NAME
from ..browser.beacons import Collector
from ..browser.click_links import LINKS
from ..browser.clicks import METHODS, Clicks
from ..browser.device_ids import DEVICES, Devices
from ..browser.device_ids import MAX_BODY as DEVICE_BODY
from ..browser.endpoints import OwnPath, OwnPaths, asset_handler
from ..browser.marks import BEACONS, MAX_BODY
from ..browser.preview_links import PREVIEWS
from ..browser.previews import Previews
from ..browser.sandbox_pages import (
    PAGES,
    PAGES_BODY,
    PAGES_METHODS,
    known_experiences,
    show_pages,
)
from ..cache import MemoryCache
from ..cache.shared import SharedCache
from ..client.budget import open_budget
from ..client.client import MoEngageClient
from ..client.failures import advice
from ..client.key_files import KeyFiles
from ..concurrency.background_loop import background
from ..concurrency.event_loops import PerLoop
from ..logs.repeated_lines import flush_repeats
from ..models.errors import OutboxError, SettingsError
from ..models.observers import Both, Counters, Observer
from ..models.reasons import Reason
from ..outbox import open_outbox
from ..outbox.process_status import (
    OUTBOX_PROBLEM,
    delivery_of,
    describe_relay,
    problem_of,
    read_delivery,
    read_processes,
    read_totals,
)
from ..outbox.processes import ProcessNotes
from ..outbox.relay import Relay, RelayState
from ..settings.import_strings import call_fault, load, name_of, unfit_signature
from ..settings.secret_keys import WITHOUT, weakness
from ..settings.settings import Config, Settings
from ..settings.stand_ins import in_place_of, tests_stand_in
from .catalogue import Catalogue
from .fetcher import Fetcher
from .personalizer import Personalizer

logger = logging.getLogger(__name__)

SCRIPT_KIND = b"text/javascript"

STORE_WITHIN = 1.0
"""What a stopping process has at least to store its last events, in seconds."""


class Runtime:
    """A personalizer and what it works with, shared by all that use one configuration.

    Making one opens nothing. ``start`` sets a relay going on the running event loop,
    ``stop`` ends it there; where a server gives us neither, the first request starts
    it and the interpreter's exit delivers what it can.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.counters = Counters()
        self.observer = observer_of(settings, self.counters)
        self.budget = open_budget(
            settings.budget.store,
            settings.budget.calls_per_minute,
            workspace_id=settings.workspace.id,
            # A number of the file's own is no guess: the API may only lower it.
            fixed="calls_per_minute" in settings.budget.model_fields_set,
            smooth=settings.budget.pace == "smooth",
        )
        self.client = MoEngageClient(
            settings, budget=self.budget, observer=self.observer
        )
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
        )
        self.shared_cache = _shared_cache(settings, self.observer)
        self.fetcher = Fetcher(
            self.client,
            self.cache,
            self.shared_cache,
            timeout=settings.fetch.timeout,
            observer=self.observer,
            advise=partial(advice, settings.workspace),
        )
        self.personalizer = Personalizer(
            settings,
            fetcher=self.fetcher,
            cache=self.cache,
            shared_cache=self.shared_cache,
            outbox=self.outbox,
            catalogue=self.catalogue,
            observer=self.observer,
        )
        self._lives = PerLoop(self._begin_life, end=self._end_life)
        self._left_events_behind = False
        # Looked at by every request, and quicker than the dictionary.
        self.last_loop: Callable[[], asyncio.AbstractEventLoop | None] = _no_loop
        self.notes = ProcessNotes(self.outbox, "server", self._describe)
        # An iterator: however many loops start at once, only one of them gets it.
        self._unsaid = iter((True,))

        self.own_paths = OwnPaths(settings.clicks.path, self._own_paths())
        # What is registered last runs first: the outbox's own goodbye comes after ours.
        atexit.unregister(_stop_all)
        atexit.register(_stop_all)

    def _own_paths(self) -> dict[str, OwnPath]:
        engine = self.personalizer
        previews = Previews(engine.previews, engine.visitors, clock=engine.now)
        devices = Devices(
            engine.visitors, max_age=int(self.settings.identity.anonymous_max_age)
        )
        paths = {
            # Without a secret it refuses, and says so in the log.
            PREVIEWS: OwnPath(METHODS, previews.answer),
            DEVICES: OwnPath(("POST",), devices.take, DEVICE_BODY),
            SDK_SCRIPT_NAME: OwnPath(METHODS, asset_handler(SDK_SCRIPT, SCRIPT_KIND)),
        }
        if self.settings.workspace.embedded and self.settings.workspace.pages == "on":
            paths[PAGES] = OwnPath(PAGES_METHODS, show_pages, PAGES_BODY)
        if engine.click_links is None or engine.beacons is None:
            return paths
        clicks = Clicks(
            engine.click_links,
            engine.visitors,
            self.outbox,
            self.settings.events,
            clock=engine.now,
        )
        collector = Collector(
            engine.beacons,
            engine.visitors,
            self.outbox,
            self.settings.events,
            clock=engine.now,
            stopwatch=lambda: engine.stopwatch(),
        )
        return {
            **paths,
            LINKS: OwnPath(METHODS, clicks.follow),
            BEACONS: OwnPath(("POST",), collector.collect, MAX_BODY),
            SCRIPT_NAME: OwnPath(METHODS, asset_handler(SCRIPT, SCRIPT_KIND)),
        }

    def start(self) -> asyncio.AbstractEventLoop:
        """See to it that what runs beside the pages runs on the running event loop.

        Returns:
            That event loop.
        """
        loop = asyncio.get_running_loop()
        if loop is self.last_loop():
            return loop
        self.last_loop = ref(loop)
        if self._lives.get() is None:
            if next(self._unsaid, False):
                self._say_what_is_off()
            self._lives.current()
            self.catalogue.start()
            _started.add(self)
        return loop

    def start_in_background(self) -> asyncio.AbstractEventLoop:
        """Do what ``start`` does, on the process's own loop thread, and return it."""
        loop = background.loop
        if loop is not self.last_loop():
            background.run(self._start())
        return loop

    async def _start(self) -> None:
        self.start()

    async def stop(self) -> None:
        """End this loop's relay and deliver what waits, within the shutdown timeout.

        What is not delivered stays in the outbox for the next start.
        """
        until = time.monotonic() + self.settings.events.shutdown_timeout
        self.last_loop = _no_loop
        life = self._lives.pop()
        await self.catalogue.stop()
        events = self.settings.events
        if events.relay == "on":
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
        """Deliver what waits, and go on.

        Args:
            timeout: How long that may take, in seconds.
        """
        await self.new_relay().drain(timeout)

    async def health(self, *, everyone: bool = False) -> dict[str, Any]:
        """Return how it goes, for a readiness probe or a status page; see ``health``.

        It never raises, and takes about a second at most.
        """
        store, counts = await self.outbox.health(), None
        processes: list[dict[str, Any]] = []
        totals: dict[str, Any] = {}
        mine = self._describe()
        relay, problem = mine["relay"], mine["problem"]
        others_deliver = self.settings.events.relay == "off"
        if others_deliver:
            relay = delivery_of(())
        if store.writable:
            with contextlib.suppress(OutboxError):
                counts = await self.outbox.count()
                if everyone or others_deliver:
                    processes = await read_processes(self.outbox)
                if everyone:
                    totals = await read_totals(self.outbox)
                if others_deliver:
                    # What they noted is how it goes.
                    relay = await read_delivery(self.outbox, processes)
                    problem = relay["delivery_problem"] or problem
        state = {
            "ok": store.writable,
            "problem": OUTBOX_PROBLEM if not store.writable else problem,
            "breaker": mine["breaker"],
            "cache": mine["cache"],
            "outbox": {
                **asdict(store),
                **(asdict(counts) if counts is not None else {}),
            },
            "relay": relay,
            "counters": mine["counters"],
        }
        if everyone:
            state |= {"processes": processes, "totals": totals}
        return state

    def _describe(self) -> dict[str, Any]:
        """Return how this process does, as JSON can hold it."""
        relay = None
        if self.settings.events.relay == "on":
            relays = [life.relay for life in self._lives.values() if life.relay]
            relay = describe_relay(relays[0].state() if relays else RelayState())
        breaker = self.fetcher.breaker
        asking = None if breaker.state == "closed" else problem_of(breaker.reason)
        return {
            "breaker": str(breaker.state),
            "cache": {"answers": len(self.cache), "bytes": self.cache.size},
            "relay": relay,
            "problem": (relay and relay["problem"]) or asking,
            "counters": dict(self.counters.snapshot()),
        }

    def _say_what_is_off(self) -> None:
        """Log functions that are missing, a secret key that is missing or weak, and
        what else is probably wrong.
        """
        for doubt in self.settings.doubts():
            logger.warning("setting_doubtful setting=%s: %s", doubt.where, doubt)
        for where, source in self.settings.sources():
            if source.call is not None and (fault := call_fault(source.call)):
                problem = self.settings.problem(where, fault)
                logger.error("call_unusable setting=%s: %s", where, problem)
        keys = [key.get_secret_value() for key in self.settings.secret_key or ()]
        if not keys:
            logger.info("secret_key_missing: %s", WITHOUT)
        # With the sandbox there is nothing yet to be protected.
        elif self.settings.workspace.data_center != "sandbox" and (
            weak := weakness(keys)
        ):
            logger.warning("secret_key_weak: it is %s", weak)
        # It is never asked for its list, and tests define what they need.
        if self.settings.workspace.embedded and not tests_stand_in():
            self.catalogue.compare(known_experiences())

    def _begin_life(self) -> _Life:
        loop = asyncio.get_running_loop()
        tasks = [
            loop.create_task(self._warm(), name="moe-warm"),
            loop.create_task(self.notes.run(), name="moe-notes"),
        ]
        if self.key_files.any:
            watch = self.key_files.watch()
            tasks.append(loop.create_task(watch, name="moe-key-files"))
        relay = self.new_relay() if self.settings.events.relay == "on" else None
        if relay is not None:
            tasks.append(loop.create_task(relay.run(), name="moe-relay"))
        return _Life(relay, tasks)

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
        """Connect before the first page has to; what fails, the pages will say."""
        if self.shared_cache is not None:
            await self.shared_cache.warm()
        await self.client.warm()

    def new_relay(self) -> Relay:
        """Return a relay that delivers this configuration's outbox."""
        relay = Relay.configured(
            self.settings.events, self.outbox, self.client.report, self.observer
        )
        self._relays.add(relay)
        return relay

    def _use_keys(self, keys: Sequence[SecretStr]) -> None:
        """Go on with new API keys, also where the old ones were refused just now."""
        self.client.use_keys(keys)
        self.fetcher.breaker.rouse(Reason.UNAUTHORIZED)
        for relay in list(self._relays):
            relay.rouse()


_NO_LIFESPAN = (
    "this event loop ended without a lifespan's shutdown, so they are delivered by the "
    "next loop or at the process's exit; in a test use 'with TestClient(app) as client'"
)


@dataclass(slots=True)
class _Life:
    """What runs on one event loop beside the pages."""

    relay: Relay | None
    tasks: list[asyncio.Task[None]]


async def health(*, everyone: bool = False) -> list[dict[str, Any]]:
    """Return how each configuration of this process does, for a readiness probe.

    ``ok`` is whether its events can be stored; ``problem`` what is wrong, beginning
    with words of ``PROBLEMS``, else None; ``breaker`` is ``closed``, ``open`` or
    ``probing``; ``cache`` counts answers and bytes; ``outbox`` tells what waits, what
    was given up and what is wrong; ``relay`` how deliveries go, those of other
    processes where ``events.relay`` is off (``relays`` is 0 where none has noted
    itself); ``counters`` is what was counted so far. An outage of MoEngage does not
    make it not ok: pages go on.

    Args:
        everyone: Whether two more are added: ``processes``, what every server and
            relay on the same outbox has noted of itself within the last seconds; and
            ``totals``, what all of them have counted together (``counters``) since the
            first began (``started_at``), those that have ended since included.
    """
    return [await one.health(everyone=everyone) for one in runtimes()]


def _shared_cache(settings: Settings, observer: Observer) -> SharedCache | None:
    """Return the cache that processes share, where the settings name one.

    Raises:
        SettingsError: The redis package is missing.
    """
    cache = settings.cache
    if cache.redis is None or cache.ttl == 0:
        return None
    from ..cache.redis import RedisCache

    # What makes other bodies out of the same answers must not meet in one Redis.
    shape = f"{settings.workspace.url} {settings.fetch.payload_values}".encode()
    digest = blake2b(shape, digest_size=4).hexdigest()
    return RedisCache(
        cache.redis.get_secret_value(),
        workspace_id=f"{settings.workspace.id}.{digest}",
        ttl=cache.ttl,
        stale=cache.stale,
        timeout=cache.redis_timeout,
        observer=observer,
    )


def _no_loop() -> None:
    """Stand for a reference to no event loop."""


def observer_of(settings: Settings, counters: Counters) -> Observer:
    """Return who is told: the counters, and the app's own observer where it has one.

    Raises:
        SettingsError: ``observer`` names nothing that is one.
    """
    if settings.observer is None:
        return counters
    name = name_of(settings.observer)
    try:
        found = load(settings.observer)
    except (ImportError, ValueError) as error:
        raise SettingsError([settings.problem("observer", str(error))]) from error
    if callable(found) and not isinstance(found, Observer):
        if takes := unfit_signature(found):
            message = f"{name!r} takes {takes}: give an observer that is made already"
            raise SettingsError([settings.problem("observer", message)])
        try:
            found = found()
        except Exception as error:
            # The error's own text may hold what it connects to.
            message = f"{name!r} raised {type(error).__name__}: it makes no observer"
            raise SettingsError([settings.problem("observer", message)]) from error
    if not isinstance(found, Observer):
        message = (
            f"{name!r} is {type(found).__name__}: it must be an object of a class that "
            "inherits from moe_middleware.Observer, or that class"
        )
        raise SettingsError([settings.problem("observer", message)])
    return Both(counters, found)


def runtime_for(config: Config, **keywords: str | None) -> Runtime:
    """Return the runtime of a configuration: the same one for the same configuration.

    Frameworks may build a middleware many times over; they all share one cache, one
    outbox and one relay.

    Args:
        config: Settings, a mapping, a settings file, or None for ``MOE_CONFIG``, else
            ``moe.yml``.
        keywords: What to set over the file and the environment; None is not given.

    Raises:
        SettingsError: The configuration is wrong; it lists every mistake.
    """
    given: dict[str, Any] = {
        name: value for name, value in keywords.items() if value is not None
    }
    settings = in_place_of(Settings.of(config, **given))
    name = str(id(config)) if settings is config else settings.fingerprint.hex()
    runtime = _runtimes.get(name)
    if runtime is None:
        runtime = _runtimes[name] = Runtime(settings)
    return runtime


def runtimes() -> list[Runtime]:
    """Return every runtime of this process."""
    return list(_runtimes.values())


def clear_caches() -> None:
    """Let every runtime of this process ask the API anew, as one test after another."""
    for runtime in runtimes():
        runtime.cache.clear()
        runtime.catalogue.clear()


_runtimes: WeakValueDictionary[str, Runtime] = WeakValueDictionary()
_started: set[Runtime] = set()


def _stop_all() -> None:
    """Deliver at exit what no server's shutdown has; all within one timeout."""

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
