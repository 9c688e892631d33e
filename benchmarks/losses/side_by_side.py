"""The same failures for all packages, ours and the rivals', in plain scripts."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .places import Place, Script, begin_script
from .sinks import Sink, Trouble, sink

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


class Upstream(Protocol):
    """Where a package's events go."""

    def behave(self, trouble: Trouble) -> None: ...

    def lose_answer(self) -> None:
        """Store the next report and cut its connection."""
        ...

    def counts(self) -> Counter[str]:
        """Return how many events are stored, by customer."""
        ...

    def deliver_the_rest(self) -> None:
        """Do what the next start of the same app would."""
        ...


@dataclass(frozen=True, slots=True)
class Bench:
    """One package, ready to be played with."""

    who: str
    upstream: Upstream
    begin: Callable[[str, str], Script]


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
    play: Callable[[Bench, int], tuple[Script, float, bool]]
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
        bench.upstream.behave("none")
        bench.upstream.deliver_the_rest()
        counts = bench.upstream.counts()
    return Cell(
        shown=len(shown),
        lost=sum(not counts[one] for one in shown),
        twice=sum(count > 1 for count in counts.values()),
        ended=max(ended),
        hung=hung,
    )


# --- the rows --------------------------------------------------------------


def _steps(
    steps: str,
    *,
    end: signal.Signals | None = None,
    after: float = 0.0,
    lives: float = 0.0,
) -> Callable[[Bench, int], tuple[Script, float, bool]]:
    def play(bench: Bench, number: int) -> tuple[Script, float, bool]:
        script = bench.begin(steps, f"c{number}")
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
) -> Callable[[Bench, int], tuple[Script, float, bool]]:
    """Fall off the end while no report arrives."""
    play = _steps(f"show {SHOWN}")

    def with_trouble(bench: Bench, number: int) -> tuple[Script, float, bool]:
        bench.upstream.behave(trouble)
        return play(bench, number)

    return with_trouble


def _outage(
    trouble: Trouble, lasts: float
) -> Callable[[Bench, int], tuple[Script, float, bool]]:
    """Live through an outage of so many seconds, and long enough after it."""

    def play(bench: Bench, number: int) -> tuple[Script, float, bool]:
        bench.upstream.behave(trouble)
        script = bench.begin(f"show {SHOWN}, hold, close", f"c{number}")
        script.wait_for_word("holding")
        time.sleep(lasts)
        bench.upstream.behave("none")
        until = time.monotonic() + RECOVERS_WITHIN
        while time.monotonic() < until:
            counts = bench.upstream.counts()
            if all(counts[one] for one in script.shown):
                break
            time.sleep(0.5)
        return _let_go(script)

    return play


def _answer_lost(bench: Bench, number: int) -> tuple[Script, float, bool]:
    bench.upstream.lose_answer()
    script = bench.begin(f"show {SHOWN}, hold, close", f"c{number}")
    script.wait_for_word("holding")
    # Long enough for each package's next report.
    time.sleep(SETTLED_WITHIN)
    return _let_go(script)


def _let_go(script: Script) -> tuple[Script, float, bool]:
    began = time.monotonic()
    script.go_on()
    by_itself = script.end(HANGS_AFTER)
    return script, time.monotonic() - began, by_itself


_FORKED = f"sleep {SETTLED_WITHIN:g}"

DUELS = (
    Duel(name="control: closed as documented", play=_steps(f"show {SHOWN}, close")),
    Duel(name="ends without a flush", play=_steps(f"show {SHOWN}")),
    Duel(
        name="SIGTERM",
        play=_steps(f"show {SHOWN}, wait", end=signal.SIGTERM, after=0.2),
    ),
    Duel(
        name="SIGKILL, straight after the last impression",
        play=_steps(f"show {SHOWN}, wait", end=signal.SIGKILL, after=0.0),
    ),
    Duel(
        name="SIGKILL, 1 s after the last impression",
        play=_steps(f"show {SHOWN}, wait", end=signal.SIGKILL, after=1.0),
    ),
    Duel(
        name="fork before the first impression",
        play=_steps(f"fork, show {SHOWN}, {_FORKED}", lives=SETTLED_WITHIN),
        repeats=3,
        takes_minutes=True,
    ),
    Duel(
        name="fork after the first impression",
        play=_steps(
            f"show {SHOWN}, fork, show {SHOWN}, {_FORKED}", lives=SETTLED_WITHIN
        ),
        repeats=3,
        takes_minutes=True,
    ),
    Duel(
        name="the same, closed as documented",
        play=_steps(f"show {SHOWN}, fork, show {SHOWN}, close"),
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


# --- the upstream ----------------------------------------------------------


class _Ours:
    def __init__(self, place: Place) -> None:
        self._place = place

    def behave(self, trouble: Trouble) -> None:
        self._place.no_more_faults()
        match trouble:
            case "status 503":
                self._place.fault(path="events", status=503, times=None)
            case "cut":
                self._place.fault(path="events", drop=True, times=None)
            case "hang":
                self._place.fault(path="events", latency=3600, times=None)

    def lose_answer(self) -> None:
        self._place.fault(path="events", lose_response=True)

    def counts(self) -> Counter[str]:
        return self._place.stored()

    def deliver_the_rest(self) -> None:
        self._place.deliver()


class _Theirs:
    def __init__(self, service: Sink) -> None:
        self._sink = service

    def behave(self, trouble: Trouble) -> None:
        self._sink.behave(trouble)

    def lose_answer(self) -> None:
        self._sink.lose_answers += 1

    def counts(self) -> Counter[str]:
        return Counter(self._sink.stored)

    def deliver_the_rest(self) -> None:
        """What was in memory only is gone: there is nothing to do."""


@contextmanager
def _bench(who: str, python: str, folder: Path) -> Iterator[Bench]:
    log = folder / "script.log"
    if who == OURS:
        place = Place(folder)

        def begin_ours(steps: str, name: str) -> Script:
            return begin_script(
                who, "", steps, name=name, log=log, environ=place.environ
            )

        with place.sandbox():
            yield Bench(who, _Ours(place), begin_ours)
        return
    with sink() as service:

        def begin(steps: str, name: str) -> Script:
            return begin_script(
                who, service.url, steps, name=name, log=log, python=python
            )

        yield Bench(who, _Theirs(service), begin)
