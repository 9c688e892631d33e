"""Compares the files in a wheel and an sdist with those that git has."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from .commands import git

METADATA = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}


def differences(root: Path, dist: Path) -> list[str]:
    """Return how the packages in ``dist`` differ from the checkout they are of.

    The sdist has all files of git and ``PKG-INFO``. The wheel has those below
    ``moe_middleware/``, and its metadata.
    """
    tracked = {*git(root, "ls-files", "-z").split("\0")} - {""}
    package = {name for name in tracked if name.startswith("moe_middleware/")}
    [sdist] = dist.glob("*.tar.gz")
    [wheel] = dist.glob("*.whl")
    return [
        *_differences(sdist.name, _in_sdist(sdist), tracked | {"PKG-INFO"}),
        *_differences(wheel.name, _in_wheel(wheel), package | METADATA),
    ]


def _differences(where: str, names: set[str], wanted: set[str]) -> Iterator[str]:
    for name in sorted(wanted - names):
        yield f"{where}: {name} is missing"
    for name in sorted(names - wanted):
        yield f"{where}: {name} is a stray file: git does not have it"


def _in_sdist(path: Path) -> set[str]:
    """Return the names of an sdist's files, without its own folder."""
    with tarfile.open(path) as opened:
        members = [member.name for member in opened if not member.isdir()]
    return {name.partition("/")[2] for name in members}


def _in_wheel(path: Path) -> set[str]:
    """Return the names of a wheel's files, those of its metadata without its folder."""
    with zipfile.ZipFile(path) as opened:
        names = [name for name in opened.namelist() if not name.endswith("/")]
    return {name.partition(".dist-info/")[2] or name for name in names}
