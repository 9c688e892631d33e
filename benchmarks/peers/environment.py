"""The rivals' own virtual environment: made when it is first needed."""

from __future__ import annotations

import json
import subprocess
import venv
from functools import cache
from pathlib import Path
from threading import Lock

from ..processes import REPOSITORY

ENVIRONMENT = REPOSITORY / ".venv-bench"
REQUIREMENTS = Path(__file__).parent / "requirements.txt"
INSTALL_TIMEOUT = 300.0
"""In seconds."""

_PYTHON = str(ENVIRONMENT / "bin" / "python")
_READY = ENVIRONMENT / ".ready"
"""Written once everything is installed: the requirements that were."""

_PIP = ("-m", "pip", "install", "--quiet", "--retries", "1", "--timeout", "15")


_LOCK = Lock()


def peers_python() -> str | None:
    """Return the Python that has the rivals, after installing them; None without them.

    It is tried once in a run. Where it fails, one line on the terminal says why.
    """
    with _LOCK:  # several threads may need it at once
        return _peers_python()


@cache
def _peers_python() -> str | None:
    wanted = REQUIREMENTS.read_text()
    if _READY.exists() and _READY.read_text() == wanted:
        return _PYTHON
    print("(installing the rivals into .venv-bench, once)", flush=True)
    try:
        venv.create(ENVIRONMENT, clear=True, symlinks=True, with_pip=True)
        _run(_PYTHON, *_PIP, "-r", str(REQUIREMENTS))
    except (OSError, subprocess.SubprocessError) as error:
        print(f"(the rivals are left out, they could not be installed: {_why(error)})")
        return None
    _READY.write_text(wanted)
    return _PYTHON


def peers_versions() -> dict[str, str]:
    """Return the versions of the rivals that are installed, by package name."""
    if not _READY.exists():
        return {}
    listed = json.loads(_run(_PYTHON, "-m", "benchmarks.peers"))
    installed = {name.lower(): version for name, version in listed.items()}
    return {name: installed[name] for name in _names() if name in installed}


def _names() -> list[str]:
    lines = REQUIREMENTS.read_text().splitlines()
    names = [line.partition(">=")[0].partition("[")[0].strip() for line in lines]
    return [name for name in names if name and not name.startswith("#")]


def _run(python: str, *arguments: str) -> str:
    return subprocess.run(
        (python, *arguments),
        capture_output=True,
        check=True,
        cwd=REPOSITORY,
        text=True,
        timeout=INSTALL_TIMEOUT,
    ).stdout


def _why(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = (error.stderr or "").strip().splitlines()
        return lines[-1] if lines else f"pip ended with status {error.returncode}"
    return type(error).__name__
