"""The committed versions: exact, hash-free, and enough for what the project needs."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PINS = [
    line
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if not line.startswith("#")
]


def needed() -> list[Requirement]:
    """Return what the project names: its own needs, its extras', its tools'."""
    named = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]
    for extra in PROJECT["project"]["optional-dependencies"].values():
        named += extra
    named += PROJECT["dependency-groups"]["dev"]
    own = PROJECT["project"]["name"]
    return [found for found in map(Requirement, named) if found.name != own]


def pinned() -> dict[str, Version]:
    names = [line.split("==") for line in PINS]
    return {canonicalize_name(name): Version(version) for name, version in names}


def test_each_line_is_a_name_and_an_exact_version() -> None:
    odd = [line for line in PINS if not re.fullmatch(r"[\w.-]+==[\w.+!]+", line)]

    assert odd == []
    assert len(pinned()) == len(PINS)


def test_everything_the_project_names_is_pinned_within_its_range() -> None:
    known = pinned()

    missing = [one.name for one in needed() if canonicalize_name(one.name) not in known]
    outside = [
        str(one)
        for one in needed()
        if canonicalize_name(one.name) in known
        and not one.specifier.contains(known[canonicalize_name(one.name)])
    ]

    assert (missing, outside) == ([], [])


def test_the_lowest_are_the_floors_and_what_is_known() -> None:
    ran = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "lowest.py")],
        capture_output=True,
        text=True,
        check=True,
    )
    lowest = dict(line.split("==") for line in ran.stdout.splitlines())
    project = PROJECT["project"]
    named = [*project["dependencies"], *project["optional-dependencies"].values()]
    flat = [line for one in named for line in ([one] if isinstance(one, str) else one)]

    assert {*lowest} <= {*pinned()}
    for one in map(Requirement, flat):
        if one.name != project["name"]:
            floor = next(s.version for s in one.specifier if s.operator == ">=")
            assert lowest[canonicalize_name(one.name)] == floor
