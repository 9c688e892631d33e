"""The sample workspace: "Tea & Thyme", a small tea shop, from sample.yml."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from .file import parse_workspace
from .workspace import Workspace

_FILE = Path(__file__).with_name("sample.yml")


def sample_text() -> str:
    """Return the text of the sample workspace file, as a start for one's own."""
    return _FILE.read_text(encoding="utf-8")


@cache
def sample_workspace() -> Workspace:
    """Return the sample workspace: customers, experiences, A/B variations."""
    # It does not depend on the machine's variables.
    return parse_workspace(sample_text(), file=_FILE.name, environ={})
