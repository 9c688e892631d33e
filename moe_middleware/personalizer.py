"""The engine: answers keys for visitors, from the cache, else by a shared fetch."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence

from .addresses import TrustedProxies
from .breaker import Breaker
from .cache.memory import MemoryCache, visitor_key
from .client import MoEngageClient
from .errors import MoEngageError, RateLimitedError
from .ids import new_id
from .models import Experience, Identity, Reason, Source
from .outbox import Outbox
from .routes import RouteTable
from .settings import Settings
from .sharing import Answers, SharedFetches
from .unseen import BotFilter

logger = logging.getLogger(__name__)


class Personalizer:
    """What all pages of one configuration share. It opens nothing itself.

    Args:
        settings: The whole configuration.
        client: Asks the API.
        cache: Keeps its answers.
        outbox: Takes the events.
        clock: The time, in unix seconds.
        stopwatch: A clock that never jumps, in seconds.
        new_id: Mints the ids of events and anonymous visitors.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        client: MoEngageClient,
        cache: MemoryCache,
        outbox: Outbox,
        clock: Callable[[], float] = time.time,
        stopwatch: Callable[[], float] = time.monotonic,
        new_id: Callable[[], str] = new_id,
    ) -> None:
        self.settings = settings
        self.client = client
        self.cache = cache
        self.outbox = outbox
        self.clock = clock
        self.stopwatch = stopwatch
        self.new_id = new_id
        self.shared = SharedFetches()
        self.breaker = Breaker(jitter=random.random)
        self.routes = RouteTable(settings.routes)
        self.bots = BotFilter(settings.bots.also, settings.bots.never)
        self.trusted = TrustedProxies(settings.trusted_proxies)
        self.vary = _vary(settings)

    async def answer(
        self,
        keys: Sequence[str],
        *,
        identity: Identity,
        attributes: dict[str, str],
        timeout: float,
    ) -> list[Experience]:
        """Return the experiences for keys: from the cache, else by one fetch.

        An expired answer is served at once while a fetch refreshes it. Never raises
        for a failing API: the keys without any answer come back as fallbacks.

        Args:
            timeout: How long the page can wait, in seconds.
        """
        visitor = visitor_key(identity, attributes)
        found = self.cache.get(visitor, keys)
        if len(found) == len(keys):
            return found
        missing = _without(keys, found)
        found += self.cache.get_stale(visitor, missing, Reason.REVALIDATING)
        needed = _without(keys, found)
        if needed and timeout <= 0:
            return found + [
                Experience(key=key, reason=Reason.TIMEOUT) for key in needed
            ]
        waiting = self.shared.start(
            visitor,
            missing,
            lambda keys: self._fetch(visitor, keys, identity, attributes, timeout),
        )
        if needed:
            found += await self.shared.wait(waiting, needed, timeout=timeout)
        return found

    async def _fetch(
        self,
        visitor: bytes,
        keys: list[str],
        identity: Identity,
        attributes: dict[str, str],
        timeout: float,
    ) -> Answers:
        """Fetch for the cache and for everyone who waits; never raises."""
        breaker, clock = self.breaker, self.stopwatch
        if not breaker.allows(clock()):
            return breaker.reason
        try:
            fetched = await self.client.fetch(
                keys,
                identity=identity,
                attributes=attributes,
                # A page may have little time left; the others and the cache have more.
                timeout=max(timeout, self.settings.fetch.timeout),
            )
        except MoEngageError as error:
            self._note_failure(error, len(keys))
            return error.reason
        except BaseException as error:
            breaker.abandoned()
            if not isinstance(error, Exception):
                raise
            logger.error("fetch_failed error=%s", type(error).__name__, exc_info=True)
            return Reason.ERROR
        breaker.succeeded(clock())
        answers = [fetched[key] for key in keys]
        self.cache.put(visitor, [one for one in answers if one.source is Source.API])
        return answers

    def _note_failure(self, error: MoEngageError, keys: int) -> None:
        now = self.stopwatch()
        if isinstance(error, RateLimitedError) and error.retry_after is not None:
            self.breaker.pause(now, error.retry_after, error.reason)
        elif error.retryable:
            self.breaker.failed(now)
        else:
            # It was refused, so the API is there.
            self.breaker.succeeded(now)
        logger.warning(
            "fetch_failed reason=%s error=%s keys=%d breaker=%s",
            error.reason,
            type(error).__name__,
            keys,
            self.breaker.state,
        )


def _without(keys: Sequence[str], found: Sequence[Experience]) -> list[str]:
    known = {experience.key for experience in found}
    return [key for key in keys if key not in known]


def _vary(settings: Settings) -> str:
    """Return what every answer depends on, in Vary's terms."""
    wanted = settings.identity
    sources = [wanted.visitor_id, *wanted.user_identifiers.values()]
    sources += [wanted.customer_id] if wanted.customer_id else []
    for attributes in (settings.attributes, *(r.attributes for r in settings.routes)):
        sources += attributes.values()
    names = {source.name: None for source in sources if source.kind == "header"}
    return ", ".join(["Cookie", *names])
