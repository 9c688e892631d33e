"""An empty folder to run commands in."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    # A command puts the folder first, for the functions that settings name.
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path
