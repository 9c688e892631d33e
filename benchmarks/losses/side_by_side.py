"""The same failures for all packages, ours and the rivals', in plain scripts."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..upstream import Trouble, Upstream, upstream
from .places import Place, Script

OURS = "ours"
RIVALS = ("posthog", "segment", "amplitude", "flagsmith", "launchdarkly")

SHOWN = 20
"""Impressions of each process."""

SETTLED_WITHIN = 15.0
"""How long a forked child lives after its last impression, in seconds: every rival's
own interval is shorter."""

HANGS_AFTER = 40.0
"""When a process that ends does not end any more, in seconds."""

RECOVERS_WITHIN = 90.0
"""How long each package has after an outage, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What a scenario came to for one package.

    Attributes:
        shown: Impressions that were recorded.
        lost: How many of them never arrived.
        twice: How many were counted more than once.
        ended: How long the slowest process took to end, in seconds.
        hung: How many had to be killed.
    """

    shown: int
    lost: int
    twice: int
    ended: float
    hung: int

    def __str__(self) -> str:
        text = f"{self.lost} of {self.shown} lost"
        if not self.lost:
            text = f"0 of {self.shown}"
        if self.twice:
            text += f", {self.twice} twice"
        if self.hung:
            text += f", {self.hung} hung"
        elif self.ended >= 3:
            text += f", ended after {self.ended:.0f} s"
        return text


@dataclass(frozen=True, slots=True)
class Bench:
    """One package, ready to be played with.

    Attributes:
        upstream: Where its events go.
        begin: Begins a script, with these steps and this name.
    """

    upstream: Place | Upstream
    begin: Callable[[str, str], Script]


Played = tuple[Script, float, bool]
"""A process, the seconds that it took to end, and whether it ended by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duel:
    """One row of the common table.

    Attributes:
        name: What happens.
        play: Plays it; returns the processes and how long each took to end.
        repeats: How often.
        takes_minutes: Whether it is left out of a quick run.
        is_long: Whether it is played beside the others.
    """

    name: str
    play: Callable[[Bench, int], Played]
    repeats: int = 5
    takes_minutes: bool = False
    is_long: bool = False


def played(duel: Duel, who: str, python: str, folder: Path, repeats: int) -> Cell:
    """Play a row for one package.

    Args:
        duel: The row.
        who: ``ours`` or a rival.
        python: Whose packages it has.
        folder: Where files may be left.
        repeats: How often.
    """
    scripts: list[Script] = []
    ended: list[float] = []
    hung = 0
    with _bench(who, python, folder) as bench:
        for number in range(repeats):
            script, seconds, by_itself = duel.play(bench, number)
            scripts.append(script)
            ended.append(seconds)
            hung += not by_itself
        shown = [one for script in scripts for one in script.shown]
        bench.upstream.fail("none")
        bench.upstream.deliver()
        counts = bench.upstream.stored()
    return Cell(
        shown=len(shown),
        lost=sum(not counts[one] for one in shown),
        twice=sum(count > 1 for count in counts.values()),
        ended=max(ended),
        hung=hung,
    )


# --- the rows --------------------------------------------------------------


def steps(
    does: str,
    *,
    end: signal.Signals | None = None,
    after: float = 0.0,
    lives: float = 0.0,
) -> Callable[[Bench, int], Played]:
    """Begin a script and wait for its end.

    Args:
        does: Its steps.
        end: The signal that ends it; None if it ends by itself.
        after: How long it does nothing before that, in seconds.
        lives: How long it lives on after its last impression, in seconds.
    """

    def play(bench: Bench, number: int) -> Played:
        script = bench.begin(does, f"c{number}")
        script.wait_for_word("waiting" if end else "all")
        time.sleep(after)
        began = time.monotonic()
        if end:
            script.process.send_signal(end)
        by_itself = script.end(HANGS_AFTER + lives)
        return script, max(0.0, time.monotonic() - began - lives), by_itself

    return play


def _in_trouble(
    trouble: Trouble,
) -> Callable[[Bench, int], Played]:
    """Fall off the end while no report arrives."""
    play = steps(f"show {SHOWN}")

    def with_trouble(bench: Bench, number: int) -> Played:
        bench.upstream.fail(trouble)
        return play(bench, number)

    return with_trouble


def _outage(trouble: Trouble, lasts: float) -> Callable[[Bench, int], Played]:
    """Live through an outage of so many seconds, and long enough after it."""

    def play(bench: Bench, number: int) -> Played:
        bench.upstream.fail(trouble)
        script = bench.begin(f"show {SHOWN}, hold, close", f"c{number}")
        script.wait_for_word("holding")
        time.sleep(lasts)
        bench.upstream.fail("none")
        until = time.monotonic() + RECOVERS_WITHIN
        while time.monotonic() < until:
            counts = bench.upstream.stored()
            if all(counts[one] for one in script.shown):
                break
            time.sleep(0.5)
        return _let_go(script)

    return play


def _answer_lost(bench: Bench, number: int) -> Played:
    bench.upstream.lose_answer()
    script = bench.begin(f"show {SHOWN}, hold, close", f"c{number}")
    script.wait_for_word("holding")
    # Long enough for each package's next report.
    time.sleep(SETTLED_WITHIN)
    return _let_go(script)


def _let_go(script: Script) -> Played:
    began = time.monotonic()
    script.go_on()
    by_itself = script.end(HANGS_AFTER)
    return script, time.monotonic() - began, by_itself


_FORKED = f"sleep {SETTLED_WITHIN:g}"

DUELS = (
    Duel(name="control: closed as documented", play=steps(f"show {SHOWN}, close")),
    Duel(name="ends without a flush", play=steps(f"show {SHOWN}")),
    Duel(
        name="SIGTERM",
        play=steps(f"show {SHOWN}, wait", end=signal.SIGTERM, after=0.2),
    ),
    Duel(
        name="SIGKILL, straight after the last impression",
        play=steps(f"show {SHOWN}, wait", end=signal.SIGKILL, after=0.0),
    ),
    Duel(
        name="SIGKILL, 1 s after the last impression",
        play=steps(f"show {SHOWN}, wait", end=signal.SIGKILL, after=1.0),
    ),
    Duel(
        name="fork before the first impression",
        play=steps(f"fork, show {SHOWN}, {_FORKED}", lives=SETTLED_WITHIN),
        repeats=3,
        takes_minutes=True,
    ),
    Duel(
        name="fork after the first impression",
        play=steps(
            f"show {SHOWN}, fork, show {SHOWN}, {_FORKED}", lives=SETTLED_WITHIN
        ),
        repeats=3,
        takes_minutes=True,
    ),
    Duel(
        name="the same, closed as documented",
        play=steps(f"show {SHOWN}, fork, show {SHOWN}, close"),
        repeats=3,
        takes_minutes=True,
    ),
    Duel(name="reports are cut off at the exit", play=_in_trouble("cut")),
    Duel(name="reports hang at the exit", play=_in_trouble("hang"), repeats=3),
    Duel(
        name="an answer is lost after the report was stored",
        play=_answer_lost,
        repeats=3,
        takes_minutes=True,
    ),
    Duel(
        name="60 s of 503, then 90 s without",
        play=_outage("status 503", 60.0),
        repeats=1,
        takes_minutes=True,
    ),
    Duel(
        name="10 min of cut connections, then 90 s without",
        play=_outage("cut", 600.0),
        repeats=1,
        takes_minutes=True,
        is_long=True,
    ),
)


@contextmanager
def _bench(who: str, python: str, folder: Path) -> Iterator[Bench]:
    if who == OURS:
        place = Place(folder)
        with place.sandbox():
            yield Bench(place, place.script)
        return
    with upstream(folder, keeps=True) as service:
        begin = partial(Script, who, service.url, folder=folder, python=python)
        yield Bench(service, begin)
