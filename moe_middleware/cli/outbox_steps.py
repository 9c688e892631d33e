"""Runs long work on an outbox step by step, with a progress bar."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence

import click

from .terminal import stop

PAGE = 1_000
"""Events per step: a large outbox does not fit in memory."""


def check_choice(ids: Sequence[str], everything: bool) -> None:
    if bool(ids) == everything:
        raise click.UsageError("name one ID or more, or say --all")


async def step_by_step(
    label: str,
    total: int,
    ids: Sequence[str],
    step: Callable[[Sequence[str] | None, int | None], Awaitable[int]],
) -> int:
    """Process chosen events, or as many as there were at the start."""
    done = 0
    with progress(label, total) as advance:
        if ids:
            return await step(ids, None)
        while done < total:
            changed = await step(None, min(PAGE, total - done))
            if not changed:
                break
            done += changed
            advance(changed)
    return done


def report(verb: str, count: int, ids: Sequence[str]) -> None:
    if count < len(set(ids)):
        stop([f"{verb} {count:,} of {len(set(ids)):,}: the others are not there"])
    click.echo(f"{verb} {count:,}")


@contextlib.contextmanager
def progress(label: str, length: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar, on a terminal only."""
    # In a log file it would be hundreds of lines.
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    with click.progressbar(length=length, label=label, file=sys.stderr) as bar:
        yield bar.update
