"""Limits log lines that every page would write: the first one, then counts."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from weakref import WeakSet

from ..concurrency.fork_hooks import register_fork_hooks

EVERY = 10.0
"""Seconds during which the same outcome is only counted."""

MOST = 100
"""Outcomes counted at the same time, at most; visitors cannot create new ones."""


@dataclass(slots=True)
class _Outcome:
    level: int
    line: str
    args: tuple[object, ...]
    ends: float
    again: int = 0


class RepeatLogger:
    """Logs an outcome at once, then one line with a count every ten seconds.

    ``event key=value`` is repeated as ``event again=540 seconds=10 key=value``, without
    the first line's part about its visitor. Thread-safe.

    Args:
        logger: Receives the lines.
        every: Seconds between two lines of an outcome.
        clock: A monotonic time, in seconds.
    """

    def __init__(
        self,
        logger: logging.Logger,
        *,
        every: float = EVERY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._every = every
        self._clock = clock
        self._begin()
        _all.add(self)

    @property
    def has_outcomes(self) -> bool:
        """Whether it has logged or counted lines since the last flush."""
        return bool(self._outcomes)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._outcomes: dict[Hashable, _Outcome] = {}
        self._timer: threading.Timer | None = None

    def log(
        self,
        level: int,
        line: str,
        *args: object,
        outcome: Hashable = None,
        who: str = "",
    ) -> None:
        """Log a line, or count it.

        Args:
            level: As for ``logging``.
            line: The line, beginning with its event.
            args: The values for its placeholders.
            outcome: Lines of an event with the same outcome are counted together; None
                compares ``args``.
            who: The part about one visitor, at the end; never in a count.
        """
        if not self._logger.isEnabledFor(level):
            return
        key = (line, args if outcome is None else outcome)
        now = self._clock()
        with self._lock:
            known = self._outcomes.get(key)
            if known is not None and now < known.ends:
                known.again += 1
                self._wake_at(known.ends - now)
                return
            # The oldest gives way: what it counted so far is not logged.
            if known is None and len(self._outcomes) >= MOST:
                self._outcomes.pop(next(iter(self._outcomes)))
            self._outcomes[key] = _Outcome(level, line, args, now + self._every)
        if known is not None:
            self._say(known)
        self._logger.log(level, f"{line}%s", *args, who)

    def flush(self, *, all: bool = False) -> None:
        """Log the counts that are due, or all of them."""
        now = self._clock()
        due: list[_Outcome] = []
        with self._lock:
            self._timer = None
            for key, known in list(self._outcomes.items()):
                if now < known.ends and not all:
                    continue
                due.append(known)
                del self._outcomes[key]
                if known.again:
                    # It may go on: further lines are counted, too.
                    self._outcomes[key] = _Outcome(
                        known.level, known.line, known.args, now + self._every
                    )
            waiting = [known.ends for known in self._outcomes.values() if known.again]
            if waiting:
                self._wake_at(min(waiting) - now)
        for known in due:
            self._say(known)

    def _say(self, known: _Outcome) -> None:
        if not known.again:
            return
        event, _, rest = known.line.partition(" ")
        line = f"{event} again=%d seconds=%.0f {rest}".rstrip()
        self._logger.log(known.level, line, known.again, self._every, *known.args)

    def _wake_at(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = threading.Timer(max(0.0, seconds), self.flush)
            self._timer.daemon = True
            self._timer.start()


_all: WeakSet[RepeatLogger] = WeakSet()


def flush_repeats() -> None:
    """Log all counts now: a process ended by a signal runs no atexit functions."""
    for one in list(_all):
        # A process may have thousands, and ends one configuration after the other.
        if one.has_outcomes:
            one.flush(all=True)


def _begin_after_fork() -> None:
    for one in list(_all):
        # The counts are the parent's to log.
        one._begin()


atexit.register(flush_repeats)
register_fork_hooks(after_in_child=_begin_after_fork)
