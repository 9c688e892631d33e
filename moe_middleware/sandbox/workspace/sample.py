"""The built-in workspace: "Tea & Thyme", a small tea shop, as sample.yml says it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from .file import parse_workspace
from .workspace import Workspace

_FILE = Path(__file__).with_name("sample.yml")


def sample_text() -> str:
    """Return the tea shop as a workspace file, to begin one's own with."""
    return _FILE.read_text(encoding="utf-8")


@cache
def sample_workspace() -> Workspace:
    """Return the tea shop: four customers, eight experiences, A/B variations."""
    return parse_workspace(sample_text(), file=_FILE.name, environ={})
