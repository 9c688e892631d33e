"""A circuit breaker: it decides when to stop calling a failing API, and when to try.

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
"""Seconds for which a failure counts."""

SLICES = 10
"""Parts of the window with a count each, so that memory is bounded."""

FEWEST_CALLS = 5
"""The fewest calls within the window that can open the breaker."""

FAILING_SHARE = 0.5
"""The share of failed calls that opens the breaker."""

FAILURES_IN_A_ROW = 10
"""Failures in a row that open the breaker, whatever the share is."""

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
"""Seconds. The pause doubles with every failed probe."""

PROBE_FOR = 30.0
"""Seconds after which a probe counts as abandoned: its event loop may have ended."""


class State(StrEnum):
    """Whether calls are allowed."""

    CLOSED = "closed"
    OPEN = "open"
    PROBING = "probing"


@dataclass(slots=True)
class _Slice:
    began_at: float
    calls: int = 0
    failures: int = 0


class Breaker:
    """Allows calls until too many fail; then, after a pause, one probe at a time.

    Every allowed call must end in ``succeeded``, ``failed``, ``pause`` or
    ``abandoned``. It never awaits, so one event loop needs no lock.

    Args:
        jitter: Returns a random number from 0 to 1.
        changed: Called with each new state.

    Attributes:
        state: Whether calls are allowed.
        reason: Why they are not.
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
        """Whether a call is allowed at ``now``, in seconds."""
        if self.state is State.CLOSED:
            return True
        # A probe whose event loop has ended reports nothing.
        probing = self.state is State.PROBING and now < self._probe_until
        if probing or now < self._open_until:
            return False
        self._probe_until = now + PROBE_FOR
        self._become(State.PROBING)
        return True

    def succeeded(self, now: float) -> None:
        """Note that a call got a response."""
        if self.state is State.PROBING:
            self._begin()
            self._become(State.CLOSED)
        elif self.state is State.CLOSED:
            self._in_a_row = 0
            self._count(now).calls += 1

    def failed(self, now: float) -> None:
        """Note that a call got no response, or an unusable one."""
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
        """Stop calls for the seconds that the API wants, ``LONGEST_WAIT`` at most."""
        self.reason = reason
        self._open_until = max(self._open_until, now + min(seconds, LONGEST_WAIT))
        self._become(State.OPEN)

    def rouse(self, reason: Reason) -> None:
        """Allow a probe now, if calls are stopped for this reason."""
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
