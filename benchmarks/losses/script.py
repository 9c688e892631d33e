"""``python -m benchmarks.losses.script WHO URL STEPS NAME``: a script that shows.

Steps are words with a number where one is needed, parted by commas: ``show 5`` records
so many impressions one by one, ``close`` ends as the package's documents say,
``sleep 2`` lives on, ``fork`` splits: the child does the rest under a name of its own,
and so does the parent, who then waits for it. ``wait`` waits to be killed. ``hold``
goes on once standard input has a line. After the last step the script falls off its
end, without a flush; ``drop`` ends a child there and then, without atexit.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from ..peers.contract import DEFAULTS


def main(who: str, url: str, steps: str, name: str) -> Any:
    """Do the steps as one of the peers, and return it."""
    # Each has the packages of its own environment only.
    module = importlib.import_module(f"benchmarks.peers.{who}")
    recorder = module.peer(url, Path(), DEFAULTS)
    child, number = 0, 0
    left = steps.count("show")
    for step in steps.split(","):
        word, _, count = step.strip().partition(" ")
        match word:
            case "show":
                for _ in range(int(count)):
                    user = f"{name}-{number}"
                    number += 1
                    recorder.record(user)
                    _say(f"shown {user}")
                left -= 1
                if not left:
                    _say("all")
            case "close":
                recorder.close()
            case "sleep":
                time.sleep(float(count))
            case "fork":
                child = os.fork()
                if not child:
                    name += "-child"
            case "hold":
                _say("holding")
                sys.stdin.readline()
            case "drop" if not child:
                os._exit(0)
            case "wait":
                _say("waiting")
                threading.Event().wait()
    if child:
        os.waitpid(child, 0)
    _say("done")
    return recorder


def _say(line: str) -> None:
    # One write: a child's lines and a parent's do not mix.
    os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    # An app's client lives as long as its process.
    kept = main(*sys.argv[1:])
