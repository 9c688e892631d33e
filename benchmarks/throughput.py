"""Pages per second under uvicorn, with wrk: the wrapped shop beside the bare one."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import MappingProxyType

from moe_middleware import SQLiteOutbox

from .effort import Effort
from .ratios import Measure, Note, Row, compare
from .servers import server
from .shop import HEADERS, MANY_VISITORS, WARM_VISITORS

SECONDS = 2
ROUNDS = 7
CONNECTIONS = 16

SCRIPT = """\
math.randomseed(7)
request = function()
  local customer = math.random(0, %(visitors)d - 1)
  wrk.headers["cookie"] = "theme=dark; customer_id=customer-" .. customer
  return wrk.format("GET", "/")
end
"""


async def throughput(directory: Path, effort: Effort) -> AsyncIterator[Row]:
    """Compare a mapped, cached page with the bare shop's; needs wrk."""
    if not wrk_is_here():
        yield Note(text="left out: wrk is not on the PATH")
        return
    pages: list[int] = []
    with server("bare", directory) as bare, server("ours", directory) as ours:
        for visitors, goal in ((WARM_VISITORS, ">= 0.85"), (MANY_VISITORS, ">= 0.80")):
            script = directory / f"visitors-{visitors}.lua"
            script.write_text(SCRIPT % {"visitors": visitors})
            yield await compare(
                f"cached page under uvicorn, {visitors} random visitors",
                ours=_wrk(ours.url, script, pages),
                rival=_wrk(bare.url, script, []),
                unit="pages/s",
                goal=goal,
                rounds=effort.rounds_of(ROUNDS),
            )
    await _check_recorded(sum(pages), directory)


def wrk_is_here() -> bool:
    """Whether wrk is on the PATH."""
    return shutil.which("wrk") is not None


def _wrk(url: str, script: Path, pages: list[int]) -> Measure:
    async def measure() -> float:
        count, rate = await wrk(
            f"{url}/",
            script,
            connections=CONNECTIONS,
            seconds=SECONDS,
            headers=HEADERS,
        )
        pages.append(count)
        return rate

    return measure


async def wrk(
    url: str,
    script: Path,
    *,
    connections: int,
    seconds: int,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> tuple[int, float]:
    """Run wrk; return how many responses it got, and how many a second."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script)]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    process = await asyncio.create_subprocess_exec(
        *command, url, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return _figures(output.decode())


def _figures(output: str) -> tuple[int, float]:
    """Return how many pages wrk got, and how many per second."""
    found = re.search(
        r"(\d+) requests in .*Requests/sec:\s+([\d.]+)", output, re.DOTALL
    )
    if found is None or "Non-2xx" in output or "Socket errors" in output:
        raise RuntimeError(f"wrk met errors:\n{output}")
    return int(found[1]), float(found[2])


async def _check_recorded(pages: int, directory: Path) -> None:
    """See that the figure is that of recorded impressions, two for each page."""
    outbox = SQLiteOutbox(str(directory / "outbox.db"))
    recorded = (await outbox.count()).waiting
    outbox.close()
    if recorded < 2 * pages:
        raise RuntimeError(f"{recorded} impressions recorded for {pages} pages")
