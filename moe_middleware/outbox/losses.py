"""Events that an outbox could not keep: counted, observed and logged."""

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
"""The pause between two log lines of one kind, in seconds: a full outbox turns every
page's events away."""


class Losses:
    """Counts what was refused, dropped or lost since this process began.

    Args:
        name: The outbox, as logs may show it.
        observer: Receives each loss.
    """

    def __init__(self, name: str, observer: Observer) -> None:
        self._name = name
        self._observer = observer
        self.forget()

    def forget(self) -> None:
        """Start afresh, as in a forked child."""
        self._lock = threading.Lock()
        self._counts: Counter[Loss] = Counter()
        self._unsaid: Counter[Loss] = Counter()
        self._said_at: dict[Loss, float] = {}

    def __getitem__(self, loss: Loss) -> int:
        return self._counts[loss]

    def add(self, loss: Loss, count: int, reason: str) -> None:
        """Count events; log at most one line of a kind a minute.

        Args:
            loss: What became of them.
            count: How many.
            reason: Why, in one word, as in ``outbox_full``.
        """
        with self._lock:
            self._counts[loss] += count
            self._unsaid[loss] += count
            now = time.monotonic()
            due = now - self._said_at.get(loss, -LOG_EVERY) >= LOG_EVERY
            if due:
                self._said_at[loss] = now
                unsaid = self._unsaid.pop(loss)
        tell(self._observer, loss, count)
        if due:
            logger.error(
                "%s count=%d outbox=%s reason=%s",
                _EVENTS[loss],
                unsaid,
                self._name,
                reason,
            )


def tell(observer: Observer, what: str, count: int) -> None:
    """Tell an observer about events; its errors are logged."""
    try:
        observer.events(what, count)
    except Exception as error:
        logger.warning("observer_failed error=%s", type(error).__name__)
