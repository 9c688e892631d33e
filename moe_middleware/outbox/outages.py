"""A row of failed reports, and its log lines."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from ..models.errors import (
    AnswerError,
    APIError,
    AuthenticationError,
    RateLimitedError,
)

logger = logging.getLogger(__name__)

REMIND_EVERY = 300.0
"""The pause between two log lines about one outage, in seconds."""


@dataclass(slots=True)
class Outage:
    """A row of failures, and when it was logged.

    Attributes:
        failures: How many attempts failed in a row.
        error: The last one's.
        failed_at: When the last attempt failed, ever, in unix seconds.
        next_try_at: When the next one was due then.
    """

    failures: int = 0
    error: Exception | None = None
    failed_at: float | None = None
    next_try_at: float | None = None
    _said: str = ""
    _said_at: float = 0.0

    def go_on(self, error: Exception, *, events: int, pause: float, now: float) -> None:
        """Count a failure; say so at the first of its kind, and now and then."""
        self.failures += 1
        self.error = error
        self.failed_at, self.next_try_at = now, now + pause
        name = type(error).__name__
        moment = time.monotonic()
        if name == self._said and moment - self._said_at < REMIND_EVERY:
            return
        self._said, self._said_at = name, moment
        status = getattr(error, "status", "-")
        if isinstance(error, AuthenticationError):
            logger.error(
                "credentials_refused status=%s retry_in=%.0f failures=%d: events are "
                "kept; check workspace.id, the Personalize tile's key and data_center",
                status,
                pause,
                self.failures,
            )
        else:
            logger.warning(
                "report_failed events=%d retry_in=%.1f failures=%d error=%s status=%s: "
                "events are kept and tried again; %s",
                events,
                pause,
                self.failures,
                name,
                status,
                _advice(error),
            )

    def end(self) -> None:
        """A report has arrived."""
        if self.failures:
            logger.warning("reports_arrive_again failures=%d", self.failures)
            self.failures, self.error, self._said = 0, None, ""


def _advice(error: Exception) -> str:
    """Return what to look at, where it goes on."""
    match error:
        case AnswerError():
            return f"{error}: check base_url, and any proxy"
        case RateLimitedError():
            return "the workspace's calls are used up for now"
        case APIError() if error.status < 500:
            return "is base_url the API's address?"
    return "if it goes on, check the network and MoEngage's status"
