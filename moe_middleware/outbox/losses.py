"""Counts, reports and logs events that an outbox could not keep."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Literal

from ..models.observers import Observer

logger = logging.getLogger(__name__)

Loss = Literal["refused", "dropped", "lost"]

_EVENTS: Mapping[Loss, str] = {
    "refused": "events_refused",
    "dropped": "events_dropped",
    "lost": "events_lost",
}

LOG_EVERY = 60.0
"""Seconds between two log lines of one kind: a full outbox refuses every page's
events."""


class Losses:
    """Counts the events that were refused, dropped or lost in this process.

    Args:
        name: The outbox, as logs may show it.
        observer: Receives each loss.
    """

    def __init__(self, name: str, observer: Observer) -> None:
        self._name = name
        self._observer = observer
        self.forget()

    def forget(self) -> None:
        """Reset all counts, as in a forked child."""
        self._lock = threading.Lock()
        self._counts: Counter[Loss] = Counter()
        self._unlogged: Counter[Loss] = Counter()
        self._logged_at: dict[Loss, float] = {}

    def __getitem__(self, loss: Loss) -> int:
        return self._counts[loss]

    def add(self, loss: Loss, count: int, reason: str) -> None:
        """Count lost events; log at most one line a minute for each kind of loss.

        Args:
            loss: The kind of loss.
            count: The number of events.
            reason: Why, in one word, as in ``outbox_full``.
        """
        with self._lock:
            self._counts[loss] += count
            self._unlogged[loss] += count
            now = time.monotonic()
            due = now - self._logged_at.get(loss, -LOG_EVERY) >= LOG_EVERY
            if due:
                self._logged_at[loss] = now
                unlogged = self._unlogged.pop(loss)
        observe(self._observer, loss, count)
        if due:
            logger.error(
                "%s count=%d outbox=%s reason=%s",
                _EVENTS[loss],
                unlogged,
                self._name,
                reason,
            )


def observe(observer: Observer, outcome: str, count: int) -> None:
    """Report a count of events to an observer; its errors are logged."""
    try:
        observer.events(outcome, count)
    except Exception as error:
        logger.warning("observer_failed error=%s", type(error).__name__)
