"""``python -m benchmarks.peers NAME URL DIRECTORY``: one peer, taking orders.

``python -m benchmarks.peers`` with no name says which packages are installed.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import sys
from importlib.metadata import distributions
from pathlib import Path

import uvloop

from ..processes import cannot_start, obey
from .jobs import Jobs


async def main(name: str, url: str, directory: str) -> None:
    """Work as one peer until standard input ends."""
    logging.disable(logging.WARNING)
    module, _, variant = name.partition("/")
    peer = importlib.import_module(f".{module}", __package__).peer(
        url, Path(directory), variant
    )
    jobs = Jobs(peer)
    orders = ("fetches", "stall", "pages", "record", "deliver", "worked")
    await obey({"ready": name}, {order: getattr(jobs, order) for order in orders})


if __name__ == "__main__":
    if len(sys.argv) == 1:
        print(json.dumps({one.name: one.version for one in distributions()}))
    else:
        try:
            asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
            asyncio.run(main(*sys.argv[1:]))
        except Exception as error:
            cannot_start(error)
            raise
