"""Fetches for all waiting pages: from the shared cache, else from the API, once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping

from ..cache import MemoryCache
from ..cache.encoding import decode, encode
from ..cache.fetch_sharing import fetch_once
from ..cache.last_hour import LastHour
from ..cache.leases import Entry, Found
from ..cache.redis import RedisCache
from ..client.client import MoEngageClient
from ..logs.repeated_lines import RepeatLogger
from ..models.errors import (
    AuthenticationError,
    BudgetError,
    MoEngageError,
    RateLimitedError,
)
from ..models.experience import Experience
from ..models.observers import Observer
from ..models.reasons import Reason, Source
from ..network.breaker import Breaker, State
from ..visitors.visitor import Visitor
from .shared_fetches import Answers, SharedFetches, Waiting

LEASE_MARGIN = 0.2
"""Seconds that a lease lasts longer than its fetch, to store the answer."""

REFUSED_FOR = 5.0
"""Seconds without calls after our credentials were refused: this requires a manual fix,
and until then every call would fail."""

_OLD = (Source.STALE, Reason.REVALIDATING)

logger = logging.getLogger(__name__)


class Fetcher:
    """Makes as few API calls as possible, and none that cannot succeed.

    Args:
        shared_cache: None if it is not configured.
        timeout: The least time for a fetch, in seconds.
        observer: Receives the breaker's states and spent budgets.
        advise: Returns advice on a failed fetch, without ids, for the log.
        joined: Receives each running fetch that a further page waits for.
        stopwatch: A clock that never jumps, in seconds.

    Attributes:
        breaker: Lets calls pass, or not.
        watchers: Receive the breaker's new states, after the observer.
    """

    def __init__(
        self,
        client: MoEngageClient,
        cache: MemoryCache,
        shared_cache: RedisCache | None,
        *,
        timeout: float,
        observer: Observer,
        advise: Callable[[MoEngageError], str] = lambda _: "see the README",
        joined: Callable[[asyncio.Task[Answers]], None] | None = None,
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._cache = cache
        self._shared_cache = shared_cache
        self._timeout = timeout
        self._observer = observer
        self._stopwatch = stopwatch
        self._advise = advise
        self._logger = RepeatLogger(logger)
        self._under_way = SharedFetches(joined)
        self.breaker = Breaker(changed=self._breaker_changed)
        self.watchers: list[Callable[[State], None]] = []

    def start(
        self,
        keys: Iterable[str],
        visitor: Visitor,
        attributes: Mapping[str, str],
        *,
        timeout: float,
        last: LastHour | None = None,
    ) -> Waiting:
        """Return the fetches for keys, after starting the missing ones.

        Args:
            keys: Those without a fresh answer in the cache.
            attributes: All in-session attributes of the fetch.
            timeout: Seconds that the page can wait.
            last: The last hour's answers, if they may be served.
        """
        # A page may have less time left, but others and the cache use the answer, too.
        budget = max(timeout, self._timeout)
        return self._under_way.start(
            visitor.key,
            visitor.variant,
            keys,
            lambda missing: self._answers(
                self._fetch(missing, visitor, attributes, budget, last)
            ),
        )

    def forget(self, visitor: bytes) -> None:
        """Discard the answers of a visitor's running fetches."""
        self._under_way.forget(visitor)

    async def aclose(self) -> None:
        """Cancel all fetches of the running event loop."""
        await self._under_way.aclose()

    async def _answers(self, fetch: Awaitable[Answers]) -> Answers:
        """Return the answers of a fetch; no exception reaches a page."""
        try:
            return await fetch
        except Exception as error:
            logger.error(
                "fetch_failed error=%s: a mistake of this package, please report it",
                type(error).__name__,
                exc_info=True,
            )
            return Reason.ERROR

    async def _fetch(
        self,
        keys: list[str],
        visitor: Visitor,
        attributes: Mapping[str, str],
        budget: float,
        last: LastHour | None,
    ) -> Answers:
        """Fetch keys for the cache and for all waiting pages."""
        if self._shared_cache is None:
            return await self._ask(keys, visitor, attributes, budget)
        found = await self._shared_cache.get(visitor.key, visitor.variant, keys)
        fresh, stale = self._taken(visitor, visitor.variant, found.entries)
        missing = [key for key in keys if key not in fresh]
        if missing and last is not None:
            fresh_then, stale_then = await self._of_last_hour(visitor, missing, last)
            # This hour's answers win.
            fresh, stale = fresh | fresh_then, stale_then | stale
            missing = [key for key in keys if key not in fresh]
        if all(key in stale for key in missing):
            if missing:
                # No page waits for more than this: the rest is refreshed afterwards.
                asyncio.get_running_loop().call_soon(
                    self._refresh, missing, visitor, attributes, budget, found
                )
            return [fresh.get(key) or stale[key] for key in keys]
        brought = await self._fetch_once(
            missing, visitor, attributes, budget, found.generation
        )
        return [fresh.get(key) or _better(brought[key], stale.get(key)) for key in keys]

    async def _of_last_hour(
        self, visitor: Visitor, keys: list[str], last: LastHour
    ) -> tuple[dict[str, Experience], dict[str, Experience]]:
        """Return answers that need no refresh yet, and those that need one."""
        assert self._shared_cache is not None
        found = await self._shared_cache.get(visitor.key, last.variant, keys)
        fresh, stale = self._taken(visitor, last.variant, found.entries, _OLD)
        return ({}, stale | fresh) if last.is_due else (fresh, stale)

    def _refresh(
        self,
        keys: list[str],
        visitor: Visitor,
        attributes: Mapping[str, str],
        budget: float,
        found: Found,
    ) -> None:
        async def refresh(missing: list[str]) -> Answers:
            brought = await self._fetch_once(
                missing, visitor, attributes, budget, found.generation
            )
            return [*brought.values()]

        self._under_way.start(
            visitor.key,
            visitor.variant,
            keys,
            lambda missing: self._answers(refresh(missing)),
        )

    async def _fetch_once(
        self,
        keys: list[str],
        visitor: Visitor,
        attributes: Mapping[str, str],
        budget: float,
        generation: bytes | None,
    ) -> dict[str, Experience]:
        """Answer keys from other processes' fetches, else by a fetch."""
        assert self._shared_cache is not None
        answers = {key: Experience(key=key, reason=Reason.TIMEOUT) for key in keys}

        async def fetch(wanted: tuple[str, ...]) -> dict[str, bytes]:
            brought = await self._ask(list(wanted), visitor, attributes, budget)
            if isinstance(brought, Reason):
                brought = [Experience(key=key, reason=brought) for key in wanted]
            answers.update({one.key: one for one in brought})
            return {one.key: encode(one) for one in brought if _is_good(one)}

        entries = await fetch_once(
            self._shared_cache,
            visitor.key,
            visitor.variant,
            keys,
            generation,
            fetch,
            for_seconds=budget + LEASE_MARGIN,
        )
        fresh, _ = self._taken(visitor, visitor.variant, entries)
        return answers | fresh

    def _taken(
        self,
        visitor: Visitor,
        variant: bytes,
        entries: Mapping[str, Entry],
        fresh_as: tuple[Source, Reason | None] = (Source.CACHE, None),
    ) -> tuple[dict[str, Experience], dict[str, Experience]]:
        """Store answers of the shared cache; return the fresh and the stale."""
        good: dict[str, Entry] = {}
        fresh: dict[str, Experience] = {}
        stale: dict[str, Experience] = {}
        for key, (fresh_for, body) in entries.items():
            try:
                if fresh_for > 0:
                    fresh[key] = decode(key, body, *fresh_as)
                else:
                    stale[key] = decode(key, body, *_OLD)
            except ValueError:
                continue  # unreadable: counts as missing
            good[key] = (fresh_for, body)
        # After a login or forget(), these may be of the time before.
        if good and self._under_way.holds(visitor.key):
            self._cache.put_encoded(visitor.key, variant, good)
        return fresh, stale

    async def _ask(
        self,
        keys: list[str],
        visitor: Visitor,
        attributes: Mapping[str, str],
        budget: float,
    ) -> Answers:
        """Call the API, unless the breaker forbids it."""
        breaker, clock = self.breaker, self._stopwatch
        if not breaker.allows(clock()):
            return breaker.reason
        try:
            fetched = await self._client.fetch(
                keys, identity=visitor.identity, attributes=attributes, timeout=budget
            )
        except MoEngageError as error:
            self._note_failure(error, len(keys))
            return error.reason
        except BaseException:
            # It was cancelled, which says nothing of the API.
            breaker.abandoned()
            raise
        breaker.succeeded(clock())
        answers = [fetched[key] for key in keys]
        if self._under_way.holds(visitor.key):
            good = [one for one in answers if _is_good(one)]
            self._cache.put(visitor.key, visitor.variant, good)
        return answers

    def _note_failure(self, error: MoEngageError, keys: int) -> None:
        now = self._stopwatch()
        if isinstance(error, BudgetError):
            # No call was made.
            self.breaker.abandoned()
            self._observer.budget_spent(error.retry_after)
        elif isinstance(error, RateLimitedError) and error.retry_after is not None:
            self.breaker.pause(now, error.retry_after, error.reason)
        elif isinstance(error, AuthenticationError):
            self.breaker.pause(now, REFUSED_FOR, error.reason)
        elif error.retryable:
            self.breaker.failed(now)
        else:
            # A refusal shows that the API works.
            self.breaker.succeeded(now)
        self._logger.log(
            logging.WARNING,
            "fetch_failed reason=%s error=%s status=%s keys=%d breaker=%s: %s",
            error.reason,
            type(error).__name__,
            getattr(error, "status", "-"),
            keys,
            self.breaker.state,
            self._advise(error),
            outcome=(error.reason, getattr(error, "status", None)),
        )

    def _breaker_changed(self, state: State) -> None:
        self._observer.breaker_changed("fetch", state)
        for changed in [*self.watchers]:
            changed(state)
        logger.warning("breaker_changed endpoint=fetch state=%s", state)


def _is_good(experience: Experience) -> bool:
    """Whether it is the API's answer, and no failure."""
    return experience.source is Source.API


def _better(brought: Experience, stale: Experience | None) -> Experience:
    """Return a stale answer if the fetch failed."""
    failed = brought.source is Source.FALLBACK
    return stale if stale is not None and failed else brought
