"""Observers of fetches and events: counters, or one of the app's own. No I/O."""

from __future__ import annotations

import logging
import threading
from collections import Counter, defaultdict
from collections.abc import Mapping
from weakref import WeakSet

from ..concurrency.fork_hooks import register_fork_hooks
from .reasons import Reason, Source

_ANSWERS = {source: f"answers.{source}" for source in Source}
_REASONS = {reason: f"reasons.{reason}" for reason in Reason}

_EVENTS = {
    what: f"events.{what}"
    for what in (
        *("appended", "refused", "dropped", "delivered", "retried", "buried", "lost"),
    )
}

logger = logging.getLogger(__name__)


class Observer:
    """Receives the outcomes of fetches and events; this base class ignores them.

    Override the methods you need. They run in the request and in several threads: they
    must be fast and must not raise.
    """

    def answered(self, source: Source, reason: Reason | None, count: int) -> None:
        """``count`` experiences of a page have this source and this reason.

        ``cache`` is a hit, ``stale`` an expired answer, ``api`` a fetched one,
        ``fallback`` a page without an answer; the reason is why.
        """

    def evaluated(
        self, key: str, variation: str | None, source: Source, reason: Reason | None
    ) -> None:
        """A page has its answer for a key: once for each page and key.

        That is before the handler runs, or when a page fetches later; whether the page
        then shows it is not known yet. If the page's ``typed`` refuses it, it is called
        once more, with the reason ``bad_payload``. An answer of OpenFeature's provider
        outside of requests counts as a page of its own.
        Without this method no variation is read, so it costs nothing.

        Args:
            key: The experience key.
            variation: The id of the variation; None without a match.
            source: The source of the answer.
            reason: The reason if it is empty or stale; None for a fresh match.
        """

    def called(self, endpoint: str, seconds: float, outcome: str) -> None:
        """A call to the API has ended.

        Args:
            endpoint: ``fetch``, ``metadata`` or ``events``.
            seconds: Its duration, retries included.
            outcome: ``ok``, or the error's reason, as in ``timeout``.
        """

    def breaker_changed(self, endpoint: str, state: str) -> None:
        """A breaker has become ``closed``, ``open`` or ``probing``.

        Args:
            endpoint: ``fetch``, or ``shared_cache`` for Redis.
            state: Its new state.
        """

    def budget_spent(self, seconds: float) -> None:
        """A call was not made: the budget has none left for so many seconds."""

    def events(self, what: str, count: int) -> None:
        """The state of events has changed.

        Args:
            what: ``appended``, ``refused``, ``dropped``, ``delivered``, ``retried``,
                ``buried`` or ``lost``.
            count: The number of events.
        """


class Counters(Observer):
    """Counts everything, for a metrics page or a test. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._breakers: dict[str, str] = {}
        _counters.add(self)

    def answered(self, source: Source, reason: Reason | None, count: int) -> None:
        with self._lock:
            self._counts[_ANSWERS[source]] += count
            if reason is not None:
                self._counts[_REASONS[reason]] += count

    def called(self, endpoint: str, seconds: float, outcome: str) -> None:
        with self._lock:
            self._counts[f"calls.{endpoint}.{outcome}"] += 1
            self._seconds[endpoint] += seconds

    def breaker_changed(self, endpoint: str, state: str) -> None:
        with self._lock:
            self._counts[f"breaker.{endpoint}.{state}"] += 1
            self._breakers[endpoint] = state

    def budget_spent(self, seconds: float) -> None:
        with self._lock:
            self._counts["budget.spent"] += 1

    def events(self, what: str, count: int) -> None:
        with self._lock:
            self._counts[_EVENTS.get(what) or f"events.{what}"] += count

    def snapshot(self) -> Mapping[str, float | str]:
        """Return all counts so far.

        Keys are dotted names: counts as ``answers.cache`` or ``calls.fetch.timeout``,
        the seconds spent in calls as ``seconds.fetch``, breakers as ``state.fetch``.
        """
        with self._lock:
            seconds = {f"seconds.{name}": one for name, one in self._seconds.items()}
            states = {f"state.{name}": one for name, one in self._breakers.items()}
            return {**self._counts, **seconds, **states}

    def _begin_anew(self) -> None:
        """After a fork, start at zero: the counts and the lock are the parent's."""
        self._lock = threading.Lock()
        self._counts.clear()
        self._seconds.clear()
        self._breakers.clear()


_counters: WeakSet[Counters] = WeakSet()


def _begin_anew() -> None:
    for counters in list(_counters):
        counters._begin_anew()


register_fork_hooks(after_in_child=_begin_anew)


class Observers(Observer):
    """Passes everything to several observers; errors of all but the first are logged.

    Args:
        first: Our own counters.
        others: The app's own observer, and those for metrics and traces.
    """

    def __init__(self, first: Observer, *others: Observer) -> None:
        self._first = first
        self._others = others
        self.wants_evaluations = any(map(wants_evaluations, others))

    def answered(self, source: Source, reason: Reason | None, count: int) -> None:
        self._first.answered(source, reason, count)
        self._tell("answered", source, reason, count)

    def evaluated(
        self, key: str, variation: str | None, source: Source, reason: Reason | None
    ) -> None:
        self._tell("evaluated", key, variation, source, reason)

    def called(self, endpoint: str, seconds: float, outcome: str) -> None:
        self._first.called(endpoint, seconds, outcome)
        self._tell("called", endpoint, seconds, outcome)

    def breaker_changed(self, endpoint: str, state: str) -> None:
        self._first.breaker_changed(endpoint, state)
        self._tell("breaker_changed", endpoint, state)

    def budget_spent(self, seconds: float) -> None:
        self._first.budget_spent(seconds)
        self._tell("budget_spent", seconds)

    def events(self, what: str, count: int) -> None:
        self._first.events(what, count)
        self._tell("events", what, count)

    def _tell(self, method: str, *arguments: object) -> None:
        for observer in self._others:
            try:
                getattr(observer, method)(*arguments)
            except Exception as error:
                log_failure(method, error)


def observer_of(given: object) -> Observer:
    """Return a caller's observer, whose errors are logged; one that ignores all for
    None.

    Raises:
        TypeError: It is no ``Observer``.
    """
    if given is None:
        return Observer()
    if not isinstance(given, Observer):
        raise TypeError(
            f"observer is of type {type(given).__name__}: give an object of a class "
            "that inherits from moe_middleware.Observer"
        )
    return given if isinstance(given, Observers) else Observers(Observer(), given)


def log_failure(method: str, error: Exception) -> None:
    """Log that an observer raised; its text, which may name a visitor, is for debug."""
    logger.error("observer_failed method=%s error=%s", method, type(error).__name__)
    logger.debug("observer_failed", exc_info=error)


def wants_evaluations(observer: Observer) -> bool:
    """Whether an observer does anything with an evaluation."""
    if isinstance(observer, Observers):
        return observer.wants_evaluations
    # A bound method is a new object at each access; its function is not.
    method = getattr(observer.evaluated, "__func__", observer.evaluated)
    return method is not Observer.evaluated
