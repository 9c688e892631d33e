"""A user's own code under mypy --strict: what our names have for types."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

USER = """
from __future__ import annotations
from dataclasses import dataclass
from typing import TypedDict

from pydantic import BaseModel

from moe_middleware import Experiences, SyncMoEngageClient

class Hero(TypedDict):
    Title: str

@dataclass
class Record:
    title: str

class Model(BaseModel):
    title: str

def view(found: Experiences) -> str:
    reveal_type(found.typed("hero", Record))
    reveal_type(found.typed("hero", Model))
    reveal_type(found.fingerprint("hero"))
    with SyncMoEngageClient() as client:
        reveal_type(client.fetch(["hero"]).typed("hero", Hero))
    hero = found.typed("hero", Hero)
    if hero is None:
        return ""
    return hero["Titel"]

def forgets(found: Experiences) -> str:
    return found.typed("hero", Record).title
"""


def mypy(folder: Path, *files: str) -> list[str]:
    """Return mypy's lines about a user's files."""
    # One folder for each kind of files: two runs at once may not share one.
    cache = ROOT / ".mypy_cache" / f"of-{'-'.join(files)}"
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", f"--cache-dir={cache}", *files],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    return ran.stdout.splitlines()


def test_what_typed_returns_is_known(tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(USER)

    shown = "\n".join(mypy(tmp_path, "user.py"))

    for kind in ("user.Record | None", "user.Model | None", "Fingerprint"):
        assert kind in shown
    assert "TypedDict(user.Hero" in shown
    assert 'has no key "Titel"' in shown
    assert 'has no attribute "title"' in shown
