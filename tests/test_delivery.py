from __future__ import annotations

import pytest

from moe_middleware.delivery import Ack, Bury, Halve, Retry, Verdict, backoff, judge
from moe_middleware.errors import (
    APIError,
    AuthenticationError,
    DeadlineError,
    InvalidRequestError,
    RateLimitedError,
)


@pytest.mark.parametrize(
    ("error", "events", "verdict"),
    [
        (None, 5, Ack()),
        (InvalidRequestError(status=400), 5, Halve()),
        (InvalidRequestError(status=413), 2, Halve()),
        (InvalidRequestError(status=400, title="No"), 1, Bury("400 No")),
        (AuthenticationError(status=401), 5, Retry(60.0)),
        (RateLimitedError(retry_after=30.0), 5, Retry(30.5)),
        (RateLimitedError(), 5, Retry(1.0)),
        (APIError(status=503), 1, Retry(1.0)),
        (APIError(status=404), 1, Retry(1.0)),
        (DeadlineError(), 5, Retry(1.0)),
    ],
    ids=str,
)
def test_verdicts(error: Exception | None, events: int, verdict: Verdict) -> None:
    assert judge(error, events=events, failures=2, jitter=1.0) == verdict


def test_backoff_doubles_up_to_its_limit() -> None:
    assert [backoff(failures, 1.0) for failures in (1, 2, 3, 9, 999)] == [
        0.5,
        1.0,
        2.0,
        15.0,
        15.0,
    ]


def test_jitter_takes_off_half_at_most() -> None:
    assert backoff(1, 0.0) == 0.25
