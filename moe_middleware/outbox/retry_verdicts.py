"""Decides after a report whether to ack, retry, halve or bury its events. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ..models.errors import AuthenticationError, InvalidRequestError
from ..network.backoff import backoff
from ..network.published_limits import LONGEST_WAIT

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 15.0
"""Seconds. Each relay makes one call: seldom enough to spare a service that is down,
often enough to notice soon that it is back."""

REFUSED_PAUSE = 15.0
"""Seconds. Credentials are corrected by people, who then look for the events."""

TOO_LARGE = 413
"""The status of a report that is too large, although each event may be valid."""

DAY = 86_400.0
"""In seconds."""


@dataclass(frozen=True, slots=True)
class Ack:
    """The events were delivered."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again after ``delay`` seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class Halve:
    """The report was refused: report each half by itself.

    Attributes:
        one_is_wrong: Whether one of the events is invalid: if the first half is
            delivered, it is in the second one.
    """

    one_is_wrong: bool


@dataclass(frozen=True, slots=True)
class Bury:
    """MoEngage will never accept this event."""

    reason: str


Verdict = Ack | Retry | Halve | Bury


def judge(
    error: Exception | None, *, events: int, failures: int, jitter: float
) -> Verdict:
    """Return the verdict on the events of one report.

    After ``400`` and ``413`` the report is halved until the refused event is alone,
    which is buried. All other errors are retried: refused credentials (``401``,
    ``403``) after ``REFUSED_PAUSE``, ``429`` after its own wait, anything else (a 5xx,
    no response) after a pause that doubles.

    Args:
        error: The report's exception; None if it succeeded.
        events: The number of its events.
        failures: The number of reports that failed in a row, including this one.
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
            retry_after: float | None = getattr(error, "retry_after", None)
            tried = failures if retry_after is None else 1
            pause = backoff(
                tried, first=FIRST_PAUSE, longest=LONGEST_PAUSE, jitter=jitter
            )
            return Retry(min(retry_after or 0.0, LONGEST_WAIT) + pause)


def too_old(occurred_at: float, attempts: int, now: float, max_age: float) -> bool:
    """Whether an event is too old for another try. The first try is always made.

    Args:
        occurred_at: When it happened, in unix seconds.
        attempts: How often it was claimed, including this claim.
        now: The time, in unix seconds.
        max_age: The most seconds between the event and a further try.
    """
    return now - occurred_at > max_age and attempts > 1


def old_age(max_age: float, error: Exception | None) -> str:
    """Return the reason for burying an event that is too old.

    Args:
        max_age: See ``too_old``.
        error: The last report's exception, if known.
    """
    spoken = f"{max_age / DAY:g} days" if max_age >= DAY else f"{max_age:g} seconds"
    return f"older than {spoken}" + (f"; last: {error}" if error else "")
