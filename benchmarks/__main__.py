"""``python -m benchmarks [sandbox]``: print the table, or the sandbox's part of it."""

from __future__ import annotations

import logging
import platform
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import uvloop

from .fetches import fetches
from .in_process import in_process
from .lookups import lookups
from .ratios import HEADINGS, Comparison
from .sandbox import CALLS, FEW_CALLS, Figure, sandbox
from .throughput import throughput, wrk_is_here


async def _rows(directory: Path) -> AsyncIterator[Comparison | Figure]:
    async for comparison in in_process(directory / "in-process"):
        yield comparison
    if wrk_is_here():
        async for comparison in throughput(directory / "uvicorn"):
            yield comparison
    else:
        print("(pages per second are left out: wrk is not on the PATH)")
    async for comparison in fetches(directory):
        yield comparison
    async for comparison in lookups():
        yield comparison
    async for row in sandbox(directory / "sandbox", FEW_CALLS):
        yield row


def _sandbox_rows(directory: Path) -> AsyncIterator[Comparison | Figure]:
    return sandbox(directory / "sandbox", CALLS)


PARTS = {"all": _rows, "sandbox": _sandbox_rows}


async def main(part: str) -> None:
    # The events stay where they are, and the shutdown says so.
    logging.getLogger("moe_middleware").setLevel(logging.ERROR)
    started = time.monotonic()
    print(f"Python {platform.python_version()}; ratio = ours / rival, round by round\n")
    print(HEADINGS)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for folder in ("in-process", "uvicorn", "sandbox"):
            (directory / folder).mkdir()
        async for row in PARTS[part](directory):
            print(row, flush=True)
    print(f"\n{time.monotonic() - started:.0f} seconds")


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["sandbox"]):
        raise SystemExit("usage: python -m benchmarks [sandbox]")
    uvloop.run(main(*sys.argv[1:] or ["all"]))
