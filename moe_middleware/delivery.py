"""What to do with events after a report: ack, retry, halve or bury them. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import AuthenticationError, InvalidRequestError, RateLimitedError

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 15.0
"""Seconds. It is one call per relay: long enough to spare a service that is down,
short enough that the reports fill soon after it is back."""

REFUSED_PAUSE = 60.0
"""Seconds. Wrong credentials are mended by people."""


@dataclass(frozen=True, slots=True)
class Ack:
    """They arrived."""


@dataclass(frozen=True, slots=True)
class Retry:
    """They may arrive later: after ``delay`` seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class Halve:
    """One of them is refused, and with it all: report each half by itself."""


@dataclass(frozen=True, slots=True)
class Bury:
    """This one will never be taken."""

    reason: str


Verdict = Ack | Retry | Halve | Bury


def judge(
    error: Exception | None, *, events: int, failures: int, jitter: float
) -> Verdict:
    """Return what to do with the events of one report.

    Args:
        error: What the report raised; None for a success.
        events: How many events it held.
        failures: How many reports failed in a row, this one included.
        jitter: A random number from 0 to 1.
    """
    match error:
        case None:
            return Ack()
        case InvalidRequestError():
            return Halve() if events > 1 else Bury(str(error))
        case AuthenticationError():
            return Retry(REFUSED_PAUSE)
        case RateLimitedError(retry_after=wait) if wait is not None:
            return Retry(wait + backoff(1, jitter))
        case _:
            return Retry(backoff(failures, jitter))


def backoff(failures: int, jitter: float) -> float:
    """Return a pause in seconds that doubles with each failure, give or take half."""
    doubled = FIRST_PAUSE * float(2 ** min(failures - 1, 16))
    return min(doubled, LONGEST_PAUSE) * (0.5 + jitter / 2)
