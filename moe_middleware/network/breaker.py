"""When to stop asking an API that fails, and when to ask again.

Pure: no I/O, no clock of its own.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from ..models.reasons import Reason
from .backoff import backoff
from .published_limits import LONGEST_WAIT

WINDOW = 10.0
"""How far back failures count, in seconds."""

SLICES = 10
"""Parts of the window that are counted together, so that memory stays the same."""

FEWEST_CALLS = 5
"""Calls within the window below which nothing is concluded."""

FAILING_SHARE = 0.5
"""The share of failed calls from which on asking is given up."""

FAILURES_IN_A_ROW = 10
"""Failed calls without an answer in between that tell enough, however good the time
before them was."""

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
"""Seconds. The pause doubles with every probe that fails."""

PROBE_FOR = 30.0
"""Seconds after which a probe counts as abandoned: its event loop may have ended."""


class State(StrEnum):
    """Whether calls pass."""

    CLOSED = "closed"
    OPEN = "open"
    PROBING = "probing"


@dataclass(slots=True)
class _Slice:
    began_at: float
    calls: int = 0
    failures: int = 0


class Breaker:
    """Lets calls pass until too many fail; then one probe at a time, after a pause.

    Every call that ``allows`` lets pass must end in ``succeeded``, ``failed``,
    ``pause`` or ``abandoned``. It never awaits, so one event loop needs no lock.

    Args:
        jitter: Returns a random number from 0 to 1.
        changed: Told each new state.

    Attributes:
        state: Whether calls pass.
        reason: While they do not, why.
    """

    def __init__(
        self,
        *,
        jitter: Callable[[], float] = random.random,
        changed: Callable[[State], None] = lambda _: None,
    ) -> None:
        self._jitter = jitter
        self._changed = changed
        self.state = State.CLOSED
        self._begin()

    def _begin(self) -> None:
        self.reason = Reason.BREAKER_OPEN
        self._slices: deque[_Slice] = deque(maxlen=SLICES)
        self._in_a_row = 0
        self._failed_probes = 0
        self._open_until = 0.0
        self._probe_until = 0.0

    def allows(self, now: float) -> bool:
        """Whether a call may be made, at ``now`` in seconds."""
        if self.state is State.CLOSED:
            return True
        probing = self.state is State.PROBING and now < self._probe_until
        if probing or now < self._open_until:
            return False
        self._probe_until = now + PROBE_FOR
        self._become(State.PROBING)
        return True

    def succeeded(self, now: float) -> None:
        """Note that a call was answered."""
        if self.state is State.PROBING:
            self._begin()
            self._become(State.CLOSED)
        elif self.state is State.CLOSED:
            self._in_a_row = 0
            self._count(now).calls += 1

    def failed(self, now: float) -> None:
        """Note that a call was not answered, or that its answer was no use."""
        if self.state is State.PROBING:
            self._failed_probes += 1
            self._open(now)
        elif self.state is State.CLOSED:
            counted = self._count(now)
            counted.calls += 1
            counted.failures += 1
            self._in_a_row += 1
            if self._in_a_row >= FAILURES_IN_A_ROW or self._is_failing(now):
                self._open(now)

    def abandoned(self) -> None:
        """Note that a call was cancelled: it shows neither success nor failure."""
        if self.state is State.PROBING:
            self._become(State.OPEN)

    def pause(self, now: float, seconds: float, reason: Reason) -> None:
        """Let nothing pass for so long, because the API asked for it; then a probe.

        An API that asks for more than ``LONGEST_WAIT`` is asked again after that.
        """
        self.reason = reason
        self._open_until = max(self._open_until, now + min(seconds, LONGEST_WAIT))
        self._become(State.OPEN)

    def rouse(self, reason: Reason) -> None:
        """Let the next call be a probe, where the pause was for this reason."""
        if self.reason is reason:
            self._open_until = 0.0

    def _open(self, now: float) -> None:
        self.reason = Reason.BREAKER_OPEN
        self._open_until = now + backoff(
            1 + self._failed_probes,
            first=FIRST_PAUSE,
            longest=LONGEST_PAUSE,
            jitter=self._jitter(),
        )
        self._become(State.OPEN)

    def _become(self, state: State) -> None:
        if state is not self.state:
            self.state = state
            self._changed(state)

    def _count(self, now: float) -> _Slice:
        began_at = now - now % (WINDOW / SLICES)
        if not self._slices or self._slices[-1].began_at != began_at:
            self._slices.append(_Slice(began_at))
        return self._slices[-1]

    def _is_failing(self, now: float) -> bool:
        recent = [one for one in self._slices if one.began_at > now - WINDOW]
        calls = sum(one.calls for one in recent)
        failures = sum(one.failures for one in recent)
        return calls >= FEWEST_CALLS and failures >= calls * FAILING_SHARE
