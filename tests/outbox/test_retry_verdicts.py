from __future__ import annotations

from moe_middleware.models.errors import (
    AnswerError,
    APIError,
    AuthenticationError,
    BudgetError,
    DeadlineError,
    InvalidRequestError,
    RateLimitedError,
)
from moe_middleware.outbox.retry_verdicts import (
    Ack,
    Bury,
    Halve,
    Retry,
    Verdict,
    judge,
    old_age,
    too_old,
)

from ..rows import each

DAY = 86_400.0


def patient(error: APIError) -> APIError:
    """Let any error say how long to wait."""
    error.retry_after = 7.0  # type: ignore[attr-defined]
    return error


@each(
    ("error", "events", "verdict"),
    [
        (None, 5, Ack()),
        (InvalidRequestError(status=400), 5, Halve(one_is_wrong=True)),
        (InvalidRequestError(status=413), 2, Halve(one_is_wrong=False)),
        (InvalidRequestError(status=400, title="No"), 1, Bury("400 No")),
        (InvalidRequestError(status=413, title="Large"), 1, Bury("413 Large")),
        (AuthenticationError(status=401), 5, Retry(15.0)),
        (AuthenticationError(status=403), 1, Retry(15.0)),
        (RateLimitedError(retry_after=30.0), 5, Retry(30.5)),
        (RateLimitedError(retry_after=0.0), 5, Retry(0.5)),
        (RateLimitedError(retry_after=1e12), 5, Retry(60.5)),
        (RateLimitedError(), 5, Retry(1.0)),
        (BudgetError(4.0), 5, Retry(4.5)),
        (APIError(status=408), 1, Retry(1.0)),
        (APIError(status=503), 1, Retry(1.0)),
        (APIError(status=404), 1, Retry(1.0)),
        (APIError(status=418), 5, Retry(1.0)),
        (AnswerError("the API answered with status 302"), 5, Retry(1.0)),
        (DeadlineError(), 5, Retry(1.0)),
        (patient(APIError(status=503)), 5, Retry(7.5)),
        (RuntimeError("a mistake of ours"), 1, Retry(1.0)),
    ],
)
def test_verdicts(error: Exception | None, events: int, verdict: Verdict) -> None:
    assert judge(error, events=events, failures=2, jitter=1.0) == verdict


@each(
    ("age", "attempts", "buried"),
    [
        (7 * DAY + 1, 2, True),
        (7 * DAY, 2, False),
        (7 * DAY + 1, 1, False),  # the first time it is tried, however old
        (-DAY, 2, False),  # the app's clock is ahead of the relay's
    ],
)
def test_an_event_is_tried_for_so_long_and_once_at_least(
    age: float, attempts: int, buried: bool
) -> None:
    now = 1_725_258_666.0

    assert too_old(now - age, attempts, now, 7 * DAY) is buried


@each(
    ("max_age", "error", "reason"),
    [
        (7 * DAY, None, "older than 7 days"),
        (1.5 * DAY, None, "older than 1.5 days"),
        (90.0, None, "older than 90 seconds"),
        (90.0, APIError(status=503, title="No"), "older than 90 seconds; last: 503 No"),
        (90.0, AuthenticationError(status=401), "older than 90 seconds; last: 401"),
    ],
)
def test_old_age_is_the_reason_that_is_given(
    max_age: float, error: Exception | None, reason: str
) -> None:
    assert old_age(max_age, error) == reason
