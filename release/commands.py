"""Runs the commands of a release: their output shows only if they fail."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path


def run(
    *command: str | Path, environ: Mapping[str, str] | None = None, umask: int = -1
) -> str:
    """Run a command, and return what it prints.

    Args:
        command: The program and its arguments.
        environ: Its environment; None is that of this process.
        umask: The rights that its new files do not get; -1 is that of this process.

    Raises:
        CommandError: It fails.
    """
    ran = subprocess.run(
        command,
        env=environ,
        umask=umask,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if ran.returncode:
        raise CommandError(f"{' '.join(map(str, command))}\n{ran.stdout}")
    return ran.stdout


def git(root: Path, *arguments: str) -> str:
    """Run git in a folder, and return what it prints, without the last line's end."""
    return run("git", "-C", root, *arguments).rstrip("\n")


class CommandError(Exception):
    """A command failed: its text has the command, and what it printed."""
