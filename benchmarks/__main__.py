"""``python -m benchmarks [NAME ...]``: print the table, or some parts of it.

Without names everything is measured, and the results go to a dated file of
``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import uvloop

from .backlog import backlog
from .caches import caches
from .delivery import delivery
from .doors import doors
from .effort import Effort
from .fetches import fetches
from .first_visits import calls, stalls
from .growth import growth
from .in_process import in_process
from .lookups import lookups
from .losses.suite import losses
from .machine import machine
from .outages import outages
from .peers.environment import peers_versions
from .quota import quota
from .ratios import HEADINGS, Note, Row
from .recording import recording
from .results import Section, save, summary
from .sandbox import sandbox, sandbox_soak
from .scripts_pages import scripts
from .throughput import throughput


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the table.

    Attributes:
        title: What it shows; it begins with the goals that it is about.
        rows: Measures it, in a directory of its own.
        always: Whether a run without names measures it, too.
    """

    title: str
    rows: Callable[[Path, Effort], AsyncIterator[Row]]
    always: bool = True


PARTS = {
    "in_process": Part("P1, P2: what a request costs, without a server", in_process),
    "doors": Part("P1, P2: what a request costs at each door", doors),
    "throughput": Part("P2: pages a second under uvicorn", throughput),
    "fetches": Part("P3: one fetch", fetches),
    "stalls": Part("P4: the event loop while the upstream is slow", stalls),
    "calls": Part("P6: calls that reach the upstream", calls),
    "quota": Part("A workspace's quota: a spike, an overload, a neighbour", quota),
    "lookups": Part("P7: the route table", lookups),
    "recording": Part("P8: recording an impression", recording),
    "delivery": Part("P9: into the outbox and out of it", delivery),
    "growth": Part("P10: as the work grows", growth),
    "caches": Part("P10: a million visitors in the cache", caches),
    "scripts": Part("Clicks and sight: bytes, server, browser", scripts),
    "sandbox": Part("The sandbox under load", sandbox),
    "backlog": Part("P10: a million events that wait", backlog, always=False),
    "outages": Part("P5: every fault, under a real server", outages, always=False),
    "losses": Part("Losses, measured", losses, always=False),
    "sandbox_soak": Part("The sandbox after 100,000 calls", sandbox_soak, always=False),
}


async def main(names: list[str], effort: Effort, results: Path | None) -> int:
    """Measure the named parts; return how many of them could not be measured.

    A missed goal is printed, and is no failure: the machine may be the cause.
    """
    began = time.monotonic()
    load = os.getloadavg()[0]
    print("ratio = ours / rival, round by round, measured in turns")
    print("a verdict is about the median\n")
    print(HEADINGS)
    sections = []
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            directory = Path(folder) / name
            directory.mkdir()
            section = Section(PARTS[name].title)
            sections.append(section)
            print(f"\n{section.title}")
            started = time.monotonic()
            try:
                async for row in PARTS[name].rows(directory, effort):
                    print(row, flush=True)
                    section.rows.append(row)
            except Exception as error:
                # The other parts' figures are worth having all the same.
                failed += 1
                failure = Note(text=f"FAILED: {type(error).__name__}: {error}")
                print(failure, flush=True)
                section.rows.append(failure)
            print(f"  {time.monotonic() - started:.0f} seconds", flush=True)
    seconds = time.monotonic() - began
    facts = [*machine(load, peers_versions())]
    print()
    for name, fact in facts:
        print(f"{name + ':':<22}{fact}")
    print("\n" + "\n".join(summary(sections)) + f"\n{seconds:.0f} seconds")
    if results is not None:
        print(f"written to {save(results, facts, sections, seconds)}")
    return failed


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"one of {', '.join(PARTS)}"
    )
    parser.add_argument("--rounds", type=int, help="rounds of every measurement")
    parser.add_argument(
        "--quick", action="store_true", help="see that it works; the figures mean less"
    )
    parser.add_argument(
        "--save",
        action="store_true",
        help="write the dated file, whatever was measured",
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}")
    return arguments


RESULTS = Path(__file__).parent / "results"

if __name__ == "__main__":
    given = _arguments()
    # The events stay where they are, and the shutdown says so.
    logging.getLogger("moe_middleware").setLevel(logging.CRITICAL)
    whole = not (given.names or given.quick or given.rounds)
    failed = uvloop.run(
        main(
            given.names or [name for name, part in PARTS.items() if part.always],
            Effort(rounds=given.rounds, quick=given.quick),
            RESULTS if whole or given.save else None,
        )
    )
    sys.exit(1 if failed else 0)
