"""Processes that end badly lose no event, and no event is counted twice.

The small side of ``python -m benchmarks losses``, which plays each of these often.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.losses import scenarios
from benchmarks.losses.places import PRELOAD, Place, begin_script
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
    "a script ends without a flush": scenarios.script("show 20"),
    "a script gets SIGTERM": scenarios.script(
        "show 20, wait", end=signal.SIGTERM, after=SETTLED
    ),
    "SIGTERM, uvicorn": scenarios.stopped("uvicorn"),
    "SIGTERM, gunicorn --preload": scenarios.stopped(PRELOAD),
    "SIGKILL, after the last page": scenarios.killed("uvicorn", settled_for=SETTLED),
    "a fork before the first page": scenarios.script("fork, show 20"),
    "a fork after the first page": scenarios.script("show 20, fork, show 20"),
    "answers are lost": scenarios.answers_lost,
    "a relay is killed mid-batch": scenarios.relay_killed,
    "two relays": scenarios.two_relays,
}


@pytest.mark.parametrize("name", BAD_ENDS)
def test_every_page_received_is_counted_once(name: str, tmp_path: Path) -> None:
    tally = BAD_ENDS[name](tmp_path, True, 1).tally

    assert tally.shown >= 20
    assert tally.lost == ()
    assert tally.twice == 0


@pytest.mark.parametrize("hangs", [False, True], ids=["refuses", "hangs"])
def test_a_dead_upstream_holds_up_no_exit_and_costs_no_event(
    hangs: bool, tmp_path: Path
) -> None:
    result = scenarios.upstream_dead_at_exit(hangs)(tmp_path, True, 1)

    assert result.tally.shown >= 20
    assert result.tally.lost == ()
    assert result.tally.twice == 0
    assert max(result.ended) < SHUTDOWN_TIMEOUT + SPARE


def test_a_redis_that_hangs_is_waited_for_once_at_the_exit(tmp_path: Path) -> None:
    """What it did not take survives its process, and the next relay delivers it."""
    log = tmp_path / "script.log"
    with redis_server(tmp_path) as redis:
        place = Place(tmp_path, outbox=redis.url)
        with place.sandbox():
            script = begin_script(
                *("ours", "", "show 3, hold, show 3"),
                name="c",
                log=log,
                environ=place.environ,
            )
            script.wait_for_word("holding")
            redis.hang()
            script.go_on()
            assert script.end()
            redis.resume()
            place.deliver()
            tally = place.tally(script.shown)

    logged = log.read_text()
    assert logged.count("drain_cut") == 1 and "events_lost" not in logged
    assert (tally.shown, tally.lost, tally.twice) == (6, (), 0)


def test_what_is_lost_and_what_is_counted_twice_would_be_noticed(
    tmp_path: Path,
) -> None:
    """The control of all of these: a tally that could not fail would prove nothing."""
    place = Place(tmp_path)
    with place.sandbox():
        shown = scenarios.script_shows(place, "c", 3)
        scenarios.script_shows(place, "c", 1)
        place.deliver()

    tally = place.tally([*shown, "c-3"])

    assert tally.lost == ("c-3",)
    assert tally.twice == 1
    assert place.tally(shown[:2]).unseen == 1
