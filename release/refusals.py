"""The reasons to refuse a release, in words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from .commands import git

_HEADING = re.compile(r"^## \[([^]]+)\](?: - (.*))?$", re.M)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_SHOWN = 5


def version_of(root: Path) -> str:
    """Return the version of the package in a checkout."""
    text = (root / "moe_middleware" / "version.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.M)
    if found is None:
        raise ValueError("moe_middleware/version.py: __version__ is missing")
    return found[1]


def refusals(root: Path) -> list[str]:
    """Return why a checkout cannot be released; nothing if it can be."""
    version = version_of(root)
    return [*_of_git(root, version), *_of_the_changelog(root, version)]


def _of_git(root: Path, version: str) -> Iterator[str]:
    changed = [line[3:] for line in git(root, "status", "--porcelain").splitlines()]
    if changed:
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        yield f"git: commit or remove first: {', '.join(changed[:_SHOWN])}{more}"
    tag = f"v{version}"
    if git(root, "tag", "--list", tag):
        tagged = git(root, "rev-parse", f"{tag}^{{commit}}")
        if tagged != git(root, "rev-parse", "HEAD"):
            yield f"git: {tag} is the tag of another commit: raise the version"


def _of_the_changelog(root: Path, version: str) -> Iterator[str]:
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = _HEADING.search(text)
    if newest is None:
        yield "CHANGELOG.md: a heading '## [VERSION] - DATE' is missing"
        return
    if newest[1] != version:
        yield (
            f"CHANGELOG.md: its newest version is {newest[1]}, but "
            f"moe_middleware/version.py says {version}: make them the same"
        )
    if not _DATE.fullmatch(newest[2] or ""):
        yield (
            f"CHANGELOG.md: the date of {newest[1]} is {newest[2]!r}: "
            "write the day of the release, as 2026-01-31"
        )
    if not re.search(rf"^\[{re.escape(version)}\]: ", text, re.M):
        yield f"CHANGELOG.md: the link of [{version}] is missing at its end"
