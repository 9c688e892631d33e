"""The command ``relay``: delivers events, beside or instead of the server processes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from . import options
from .command_settings import load_settings
from .terminal import printable, stop

if TYPE_CHECKING:
    from types import FrameType

    from ..outbox.relay import Relay
    from ..personalizer.runtime import Runtime
    from ..settings.settings import Settings

COUNT_FOR = 3.0
"""The time limit of the counts for a status line, in seconds."""

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


@click.command(
    epilog="""\b
Examples:
  moe-middleware relay                     until SIGTERM or Ctrl-C
  moe-middleware relay --until-empty       before a machine is removed
  moe-middleware relay --once              from cron
  moe-middleware relay --outbox redis://queue.internal:6379/0

Any number of relays may work on one outbox, beside servers that deliver too; let these
only collect with 'events: {relay: off}'. SIGTERM and Ctrl-C end it: reports under way
are waited for as long as events.shutdown_timeout says, the rest stays in the outbox.

The exit code is 0, and 1 where the settings are wrong or --once could not deliver."""
)
@options.config
@click.option(
    "--outbox",
    metavar="URL",
    help="Where events wait, as sqlite:///moe-outbox.db; left out, the settings'.",
)
@click.option(
    "--once", is_flag=True, help="Deliver the events that are due now, and stop."
)
@click.option(
    "--until-empty",
    is_flag=True,
    help="Deliver until the outbox is empty, through failures and pauses, and stop. "
    "An outbox that may not be written, or that fails for a minute, ends it with exit "
    "code 1.",
)
@click.option(
    "--probe-port",
    metavar="PORT",
    type=click.IntRange(0, 65_535),
    help="Answer probes over HTTP on 127.0.0.1: 200 with how it does, or 503; and "
    "/metrics with 'observability: {prometheus: true}'.",
)
@click.option(
    "--probe-host",
    metavar="HOST",
    default="127.0.0.1",
    show_default=True,
    help="Where to listen for probes.",
)
@click.option(
    "--status-every",
    metavar="SECONDS",
    default=60.0,
    show_default=True,
    type=click.FloatRange(min=0.1),
    help="The pause between two status lines.",
)
def relay(
    config: str | None,
    outbox: str | None,
    once: bool,
    until_empty: bool,
    probe_port: int | None,
    probe_host: str,
    status_every: float,
) -> None:
    """Deliver the waiting events of the outbox."""
    if once and until_empty:
        raise click.UsageError("give --once or --until-empty, not both")
    from ..models.errors import SettingsError
    from ..personalizer.runtime import Runtime

    keywords = {} if outbox is None else {"events": {"outbox": outbox}}
    settings = load_settings(config, **keywords)
    try:
        runtime = Runtime(settings)
    except SettingsError as error:
        stop(error.problems)
    if settings.events.outbox.is_memory:
        stop(["events.outbox: memory: is each process's own, and ours is empty"])
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    for line in _opening_lines(settings):
        click.echo(line)
    probe = None if probe_port is None else (probe_host, probe_port)
    # The modules stay: without them, a full garbage collection takes a fraction.
    gc.freeze()
    try:
        ended_well = asyncio.run(
            _deliver(runtime, once, until_empty, status_every, probe)
        )
    except OSError as error:
        stop([f"--probe-port: {probe_host}:{probe_port}: {error.strerror}"])
    sys.exit(0 if ended_well else 1)


async def _deliver(
    runtime: Runtime,
    once: bool,
    until_empty: bool,
    status_every: float,
    probe: tuple[str, int] | None,
) -> bool:
    """Deliver until done or stopped; return whether all went well."""
    from ..outbox.process_status import describe_relay
    from ..outbox.processes import ProcessNotes
    from .probes import answer_probes

    events = runtime.settings.events
    relay = runtime.new_relay()

    def describe() -> dict[str, Any]:
        state = describe_relay(relay.state)
        counters = dict(runtime.counters.snapshot())
        return {"relay": state, "problem": state["problem"], "counters": counters}

    notes = ProcessNotes(runtime.outbox, "relay", describe)
    metrics: Callable[[], Awaitable[bytes]] | None = None
    if runtime.settings.observability.prometheus:
        from ..telemetry.prometheus import read_metrics

        metrics = read_metrics
    prober = None
    if probe is not None:
        prober = await answer_probes(*probe, runtime.outbox, describe, metrics)
        host, port, *_ = prober.sockets[0].getsockname()
        click.echo(f"answering probes on http://{host}:{port}/")
    begin = (
        relay.deliver(to_the_end=True) if once else relay.run(until_empty=until_empty)
    )
    work = asyncio.create_task(begin)
    stopping = asyncio.Event()
    stopped = asyncio.create_task(stopping.wait())
    status = asyncio.create_task(_say_status(runtime, relay, status_every))
    noting = asyncio.create_task(notes.run())
    watching = asyncio.create_task(runtime.key_files.watch())
    sampling = asyncio.create_task(runtime.sampler.run())
    with (
        _signals(stopping.set, "SIGTERM", "SIGINT"),
        _signals(runtime.key_files.read, "SIGHUP"),
    ):
        await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
    # From here on a second signal ends the process at once.
    relay.stop()
    await asyncio.wait({work}, timeout=events.shutdown_timeout)
    beside = (work, stopped, status, noting, watching, sampling)
    for task in beside:
        task.cancel()
    ended = await asyncio.gather(*beside, return_exceptions=True)
    await notes.end()
    if prober is not None:
        prober.close()
    click.echo(await _status_line(runtime, relay))
    await runtime.client.aclose()
    runtime.outbox.close()
    if isinstance(ended[0], Exception):
        click.echo(printable(f"ended: {ended[0]}"), err=True)
    return stopping.is_set() or not ended[0]


async def _say_status(runtime: Runtime, relay: Relay, every: float) -> None:
    while True:
        await asyncio.sleep(every)
        click.echo(await _status_line(runtime, relay))


async def _status_line(runtime: Runtime, relay: Relay) -> str:
    """Return the counts so far, and the events that are left."""
    counted = runtime.counters.snapshot()
    done = [
        f"{what}={counted.get(f'events.{what}', 0)}"
        for what in ("delivered", "retried", "buried")
    ]
    try:
        async with asyncio.timeout(COUNT_FOR):
            counts = await runtime.outbox.count()
    except Exception:
        waiting, dead = "unknown", "unknown"
    else:
        waiting, dead = str(counts.waiting), str(counts.dead)
    left = [f"waiting={waiting}", f"dead={dead}", f"failures={relay.state.failures}"]
    return " ".join([*done, *left])


@contextlib.contextmanager
def _signals(notify: Callable[[], None], *names: str) -> Iterator[None]:
    """Let signals call ``notify`` instead of ending the process."""
    loop = asyncio.get_running_loop()

    def handle(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(notify)

    known = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {one: signal.signal(one, handle) for one in known}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _opening_lines(settings: Settings) -> Iterator[str]:
    workspace, events = settings.workspace, settings.events
    to = "the embedded sandbox" if workspace.embedded else workspace.url
    yield f"delivering from {events.outbox} to {to}"
    for doubt in settings.doubts():
        yield f"warning: {doubt}"
    if workspace.embedded:
        yield (
            "warning: this sandbox is embedded in each process, so what is delivered "
            "ends with this one; set MOE_BASE_URL to that of 'moe-middleware sandbox'"
        )
