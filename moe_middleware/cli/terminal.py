"""Shared parts of the commands: tables, text that is safe to print, errors."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import NoReturn

import click


def table(rows: Iterable[Sequence[str]]) -> list[str]:
    """Return rows as lines, with aligned cells."""
    cells = list(rows)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in cells
    ]


def duration(seconds: float | None) -> str:
    """Return a time span in its largest unit, as in ``1.5 h``; a dash for None."""
    if seconds is None:
        return "-"
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def printable(value: object) -> str:
    """Return a value for a terminal, with control characters escaped."""
    # An escape sequence in a payload could rewrite what the terminal shows.
    if isinstance(value, str) and value.isprintable():
        return value
    return json.dumps(value, default=dict)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name; empty if none is near."""
    near = get_close_matches(name, [*known], n=1)
    return f": did you mean {printable(repr(near[0]))}?" if near else ""


def not_in_workspace(name: str, known: Sequence[str]) -> str:
    """Return the complaint about a name that a workspace lacks."""
    about = did_you_mean(name, known)
    return (
        f"{name}: not in the workspace, which has {', '.join(known) or 'none'}{about}"
    )


def stop(complaints: Iterable[object]) -> NoReturn:
    """End the command with exit code 1 and one line on stderr per complaint."""
    for complaint in complaints:
        click.echo(printable(str(complaint)), err=True)
    sys.exit(1)
