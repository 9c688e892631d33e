"""Processes that end badly lose no event, and no event is counted twice.

The small side of ``python -m benchmarks losses``, which plays each of these often.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.losses import scenarios
from benchmarks.losses.places import PRELOAD, Place
from benchmarks.losses.scenarios import Result

from ..redis_servers import redis_server

SHUTDOWN_TIMEOUT = 2.0
"""The default of ``events.shutdown_timeout``, in seconds."""

SPARE = 20.0
"""How much longer an end may take on a busy machine, in seconds."""

SETTLED = 2.0
"""How long all is quiet before a process is killed, in seconds: what is shown is stored
within milliseconds, and on a busy machine within this."""

Play = Callable[[Path, bool, int], Result]

BAD_ENDS: dict[str, Play] = {
    "SIGTERM, gunicorn --preload": scenarios.ended(PRELOAD, signal.SIGTERM),
    "SIGKILL, after the last page": scenarios.ended(
        "uvicorn", signal.SIGKILL, settled_for=SETTLED
    ),
    "SIGTERM, MoEngage hangs": scenarios.upstream_dead_at_exit(hangs=True),
    "a relay is killed mid-batch": scenarios.relay_killed,
}


@pytest.mark.parametrize("name", BAD_ENDS)
def test_every_page_received_is_counted_once(name: str, tmp_path: Path) -> None:
    result = BAD_ENDS[name](tmp_path, True, 1)

    assert result.tally.shown >= 20
    assert result.tally.lost == ()
    assert result.tally.twice == 0
    assert max(result.ended, default=0) < SHUTDOWN_TIMEOUT + SPARE


def test_scripts_that_end_without_a_flush_lose_nothing(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with place.sandbox():
        scripts = [
            place.script("fork, show 20", "forks-first"),
            place.script("show 20, fork, show 20", "forks-later"),
            place.script("show 20, wait", "is-ended"),
            *(place.script("show 1", "control") for _ in range(2)),
        ]
        scripts[2].wait_for_word("waiting")
        time.sleep(SETTLED)
        scripts[2].process.send_signal(signal.SIGTERM)
        assert all(script.end() for script in scripts)
        place.deliver()
    tally = place.tally(one for script in scripts for one in script.shown)

    # The two scripts of one name show that the tally sees what is counted twice.
    assert (tally.shown, tally.lost, tally.twice) == (121, (), 1)
    assert place.tally(["nobody"]).lost == ("nobody",)


def test_a_redis_that_hangs_is_waited_for_once_at_the_exit(tmp_path: Path) -> None:
    """What it did not take survives its process, and the next relay delivers it."""
    with redis_server(tmp_path) as redis:
        place = Place(tmp_path, outbox=redis.url)
        with place.sandbox():
            script = place.script("show 3, hold, show 3", "c")
            script.wait_for_word("holding")
            redis.hang()
            script.go_on()
            assert script.end()
            redis.resume()
            place.deliver()
            tally = place.tally(script.shown)

    logged = script.log.read_text()
    assert logged.count("drain_cut") == 1 and "events_lost" not in logged
    assert (tally.shown, tally.lost, tally.twice) == (6, (), 0)
