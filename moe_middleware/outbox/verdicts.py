"""What to do with events after a report: ack, retry, halve or bury them. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ..models.errors import AuthenticationError, InvalidRequestError
from ..network.backoff import backoff
from ..network.published_limits import LONGEST_WAIT

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 15.0
"""Seconds. It is one call per relay: long enough to spare a service that is down,
short enough that the reports fill soon after it is back."""

REFUSED_PAUSE = 15.0
"""Seconds. People mend wrong credentials, and look for the events soon after."""

TOO_LARGE = 413
"""The status of a report that is too large: no event in it need be wrong."""

DAY = 86_400.0
"""In seconds."""


@dataclass(frozen=True, slots=True)
class Ack:
    """They arrived."""


@dataclass(frozen=True, slots=True)
class Retry:
    """They may arrive later: after ``delay`` seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class Halve:
    """They are refused together: report each half by itself.

    Attributes:
        one_is_wrong: Whether an event is to blame, so that it must be in the second
            half where the first has arrived.
    """

    one_is_wrong: bool


@dataclass(frozen=True, slots=True)
class Bury:
    """This one will never be taken."""

    reason: str


Verdict = Ack | Retry | Halve | Bury


def judge(
    error: Exception | None, *, events: int, failures: int, jitter: float
) -> Verdict:
    """Return what to do with the events of one report.

    ``400`` and ``413`` halve the report until the refused event is alone, and bury it.
    Wrong credentials (``401``, ``403``) try again in ``REFUSED_PAUSE``, ``429`` after
    its wait, and all else (a 5xx, no answer) after a pause that doubles: that is not
    the events' fault.

    Args:
        error: What the report raised; None for a success.
        events: How many events it held.
        failures: How many reports failed in a row, this one included.
        jitter: A random number from 0 to 1.
    """
    match error:
        case None:
            return Ack()
        case InvalidRequestError(status=status) if events > 1:
            return Halve(one_is_wrong=status != TOO_LARGE)
        case InvalidRequestError():
            return Bury(str(error))
        case AuthenticationError():
            return Retry(REFUSED_PAUSE)
        case _:
            asked: float | None = getattr(error, "retry_after", None)
            if asked is None:
                return Retry(_pause(failures, jitter))
            return Retry(min(asked, LONGEST_WAIT) + _pause(1, jitter))


def _pause(failures: int, jitter: float) -> float:
    return backoff(failures, first=FIRST_PAUSE, longest=LONGEST_PAUSE, jitter=jitter)


def too_old(occurred_at: float, attempts: int, now: float, max_age: float) -> bool:
    """Whether an event has been tried for too long.

    Args:
        occurred_at: When it happened, in unix seconds.
        attempts: How often it was claimed, this time included: the first time it is
            tried however old, be it left over from long ago or replayed.
        now: The time, in unix seconds.
        max_age: How long an event is tried, in seconds from when it happened.
    """
    return now - occurred_at > max_age and attempts > 1


def old_age(max_age: float, error: Exception | None) -> Bury:
    """Return the burial of an event that is too old.

    Args:
        max_age: How long it was tried, in seconds from when it happened.
        error: What the last report raised, where that is known.
    """
    spoken = f"{max_age / DAY:g} days" if max_age >= DAY else f"{max_age:g} seconds"
    return Bury(f"older than {spoken}" + (f"; last: {error}" if error else ""))
