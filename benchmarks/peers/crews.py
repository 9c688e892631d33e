"""Who takes part in a measurement: everyone's process, started and ended together."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from ..orders import Worker, WorkerError, worker
from ..ratios import Note
from ..upstream import Upstream, upstream
from .environment import peers_python

OURS = "ours"


class Crew:
    """The processes of one measurement.

    Attributes:
        upstream: The server that all of them call.
        workers: They, by name; ours come first.
        missing: Who could not take part, and why.
    """

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.workers: dict[str, Worker] = {}
        self.missing: list[Note] = []


@asynccontextmanager
async def crew(
    directory: Path, names: Iterable[str], *, at_home: Iterable[str] = ()
) -> AsyncIterator[Crew]:
    """Run an upstream and the named peers until the block ends.

    Args:
        directory: Where files may be left.
        names: The peers, as ``ours/client`` or ``posthog``.
        at_home: Those of the rivals that run with the project's own Python.
    """
    at_home = set(at_home)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(upstream(directory))
        together = Crew(server)
        for name in names:
            here = name.startswith(OURS) or name in at_home
            python = sys.executable if here else peers_python()
            if python is None:
                together.missing.append(Note(text=f"{name} is not installed"))
                continue
            command = [python, "-m", "benchmarks.peers", name, server.url]
            try:
                started = await stack.enter_async_context(
                    worker(name, [*command, str(directory)], directory)
                )
            except WorkerError as error:
                if name.startswith(OURS):
                    raise
                together.missing.append(Note(text=f"left out: {error}"))
            else:
                together.workers[name] = started
        yield together
