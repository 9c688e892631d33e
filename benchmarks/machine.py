"""What the figures were measured on: they mean nothing without it."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

OURS = ("moe_middleware", "starlette", "uvicorn", "uvloop", "httpx", "orjson", "jinja2")


def machine(load: float, peers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the facts of this machine, each with its name.

    Args:
        load: The load average when the run began.
        peers: The rivals' versions, by their packages' names.
    """
    yield "processor", _processor()
    yield "cores", str(len(os.sched_getaffinity(0)))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    yield "memory", f"{memory / 2**30:.0f} GiB"
    yield "load when it began", f"{load:.1f}"
    yield "system", f"{platform.system()} {platform.release()} {platform.machine()}"
    yield "Python", f"{platform.python_implementation()} {platform.python_version()}"
    yield "SQLite", sqlite3.sqlite_version
    yield "ours", _listed({name: version(name) for name in OURS})
    yield "rivals", _listed(peers) or "none"


def resident(pid: int | str = "self") -> int:
    """Return the memory of a process, in bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _listed(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {versions[name]}" for name in sorted(versions))


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or "unknown"
    names = (line.partition(":") for line in text.splitlines())
    return next(
        (name.strip() for key, _, name in names if key.strip() == "model name"),
        platform.machine(),
    )
