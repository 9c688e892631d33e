"""Who takes part in a measurement: everyone's process, started and ended together."""

from __future__ import annotations

import sys
from collections.abc import Container, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..effort import Effort
from ..processes import ProcessError, Worker, worker
from ..ratios import Note
from ..upstream import Upstream, upstream
from .environment import peers_python

OURS = "ours"


@dataclass(frozen=True, slots=True)
class Crew:
    """The processes of one measurement.

    Attributes:
        upstream: The server that all of them call.
        workers: They, by name; ours come first.
        missing: Who could not take part, and why.
    """

    upstream: Upstream
    workers: dict[str, Worker] = field(default_factory=dict)
    missing: list[Note] = field(default_factory=list)


@contextmanager
def crew(
    directory: Path,
    effort: Effort,
    names: Iterable[str],
    *,
    at_home: Container[str] = (),
) -> Iterator[Crew]:
    """Run an upstream and the named peers until the block ends.

    Args:
        directory: Where files may be left.
        effort: Whether rivals take part.
        names: The peers, as ``ours/client`` or ``posthog``.
        at_home: Those of the rivals that run with the project's own Python.
    """
    with ExitStack() as stack:
        together = Crew(stack.enter_context(upstream(directory)))
        for name in names:
            here = name.startswith(OURS) or name in at_home
            if effort.alone and not here:
                continue
            python = sys.executable if here else peers_python()
            if python is None:
                together.missing.append(Note(text=f"{name} is not installed"))
                continue
            given = (name, together.upstream.url, directory)
            process = worker(
                name, "benchmarks.peers", *given, folder=directory, python=python
            )
            try:
                together.workers[name] = stack.enter_context(process)
            except ProcessError as error:
                if name.startswith(OURS):
                    raise
                together.missing.append(Note(text=f"left out: {error}"))
        yield together
