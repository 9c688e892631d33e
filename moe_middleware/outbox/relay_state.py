"""The state of a relay: its deliveries, its failures, and their log lines."""

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
"""Seconds between two log lines about one outage."""


@dataclass(slots=True)
class RelayState:
    """The state of a relay's deliveries. Times are in unix seconds.

    Attributes:
        failures: How many attempts failed since the last success.
        error: The last one's error; None without failures.
        delivered: How many events it has delivered.
        delivered_at: The time of its last delivery.
        failed_at: The time of its last failure ever.
        next_try_at: The time of the next attempt after a failure; else None.
    """

    failures: int = 0
    error: Exception | None = None
    delivered: int = 0
    delivered_at: float | None = None
    failed_at: float | None = None
    next_try_at: float | None = None
    _logged: str = ""
    _logged_at: float = 0.0

    def go_on(self, error: Exception, *, events: int, pause: float, now: float) -> None:
        """Count a failure; log the first of each kind, then one each REMIND_EVERY."""
        self.failures += 1
        self.error = error
        self.failed_at, self.next_try_at = now, now + pause
        name = type(error).__name__
        moment = time.monotonic()
        if name == self._logged and moment - self._logged_at < REMIND_EVERY:
            return
        self._logged, self._logged_at = name, moment
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
        """Note a success."""
        if self.failures:
            logger.warning("reports_arrive_again failures=%d", self.failures)
            self.failures, self.error, self._logged = 0, None, ""
            self.next_try_at = None


def _advice(error: Exception) -> str:
    """Return advice for an error that continues."""
    match error:
        case AnswerError():
            return f"{error}: check base_url, and any proxy"
        case RateLimitedError():
            return "the workspace's calls are used up for now"
        case APIError() if error.status < 500:
            return "is base_url the API's address?"
    return "if it goes on, check the network and MoEngage's status"
