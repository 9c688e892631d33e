"""Builds the wheel and the sdist from the last commit, in a clone of its own."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from .commands import git, run


def build(root: Path, clone: Path, *, umask: int) -> Path:
    """Build both from the last commit, and return the folder that has them.

    Args:
        root: The repository.
        clone: Where it is cloned to; it must not exist.
        umask: The rights that new files do not get, as people's machines differ in
            them. The builds must not depend on it.
    """
    run("git", "clone", "--quiet", "--no-hardlinks", root, clone, umask=umask)
    environ = {
        **os.environ,
        "SOURCE_DATE_EPOCH": git(clone, "log", "-1", "--format=%ct"),
        "PIP_CONSTRAINT": str(clone / "constraints.txt"),
    }
    dist = clone / "dist"
    command = (sys.executable, "-m", "build", "--outdir", dist, clone)
    run(*command, environ=environ, umask=umask)
    return dist


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a folder, by its name."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }
