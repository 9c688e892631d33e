"""The contract of metrics and traces: an observer that also receives samples."""

from __future__ import annotations

from asyncio import Task
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..models.events import Event
from ..models.observers import Observer

Report = Callable[[Sequence[Event]], Awaitable[None]]
"""Reports events to MoEngage, or raises."""

OTHER = "other"
"""The label of all keys, and of all variations, without a label of their own."""

NONE = "none"
"""The label of a missing variation or reason."""

MAX_KEYS = 100
"""The most keys with a label of their own, beside those of the routes. A workspace has
20 active ones, but an app may fetch keys that a visitor sends."""

MAX_VARIATIONS = 50
"""The most variations of a key with a label: five for each of ten audiences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The state of a configuration at one time; unknown values are None.

    Attributes:
        cache_answers: The answers in this process's cache.
        cache_bytes: Their size.
        unsaved: Events of this process that are not stored yet.
        writable: Whether events can be stored.
        waiting: Events in the outbox that are to be delivered.
        dead: Dead letters.
        oldest_age: The age of the oldest waiting event, in seconds; 0 without any.
    """

    cache_answers: int
    cache_bytes: int
    unsaved: int
    writable: bool
    waiting: int | None = None
    dead: int | None = None
    oldest_age: float | None = None


class Telemetry(Observer):
    """An observer that also receives samples, and can trace; this class does neither.

    Attributes:
        trace: Returns the current trace, as a W3C ``traceparent``, to be kept with the
            events of a page; None if events keep none.
        joined: Receives the running fetch that another page joins; None for no
            interest.
    """

    trace: Callable[[], str | None] | None = None
    joined: Callable[[Task[Any]], None] | None = None

    def sampled(self, sample: Sample) -> None:
        """Receive a sample: every ten seconds, and at a scrape."""

    def traced(self, report: Report) -> Report:
        """Return a report that is traced."""
        return report


class Telemetries:
    """All telemetry of a configuration.

    Attributes:
        all: Each one.
        trace: As of the one that has it; None without one.
        joined: Likewise.
    """

    def __init__(self, all: Iterable[Telemetry] = ()) -> None:
        self.all = (*all,)
        self.trace = next((one.trace for one in self.all if one.trace), None)
        self.joined = next((one.joined for one in self.all if one.joined), None)

    def traced(self, report: Report) -> Report:
        """Return a report that is traced, if any of them does."""
        for one in self.all:
            report = one.traced(report)
        return report


class Labels:
    """Bounds the labels of a metric: visitors must not be able to make new series.

    Args:
        keys: The keys of the routes, which always have a label of their own.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._variations: dict[str, set[str]] = {key: set() for key in keys}
        self._most = len(self._variations) + MAX_KEYS

    def of(self, key: str, variation: str | None) -> tuple[str, str]:
        """Return the labels of a key and its variation."""
        known = self._variations.get(key)
        if known is None:
            if len(self._variations) >= self._most:
                return OTHER, NONE if variation is None else OTHER
            known = self._variations[key] = set()
        if variation is None:
            return key, NONE
        if variation not in known:
            if len(known) >= MAX_VARIATIONS:
                return key, OTHER
            known.add(variation)
        return key, variation
