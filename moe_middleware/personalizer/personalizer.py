"""The engine: answers keys for visitors, from the cache, else by a shared fetch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..browser.click_links import LINKS, ClickLinks
from ..browser.marks import MarkTokens
from ..browser.overlay_access import OVERLAY, OverlayAccess, OverlayLinks
from ..browser.preview_links import PREVIEWS, PreviewLinks
from ..cache import MemoryCache
from ..cache.encoding import NO_MATCH, decode_all, variation_in
from ..cache.last_hour import last_hour
from ..cache.redis import RedisCache
from ..logs.repeated_lines import RepeatLogger
from ..models.experience import Experience
from ..models.observers import Observer, wants_evaluations
from ..models.reasons import Reason, Source
from ..models.visits import Visit
from ..outbox import Outbox
from ..outbox.encoding import ImpressionEncoder
from ..routes.routes import RouteTable
from ..settings.secret_keys import WITHOUT
from ..settings.settings import Settings
from ..visitors.visitor import Visitor
from ..visitors.visitors import Visitors
from .catalogue import Catalogue
from .fetcher import Fetcher
from .logins import LoginWatch
from .page_caching import private_lines, vary_of
from .page_elements import ElementKit
from .shared_fetches import PendingAnswers
from .unasked_keys import UnaskedKeys

logger = logging.getLogger(__name__)

_FAILURES = frozenset(Reason) - {
    *(Reason.NO_MATCH, Reason.NOT_REQUESTED, Reason.REVALIDATING),
    *(Reason.NOT_ACTIVE, Reason.BOT, Reason.NO_CONSENT),
    Reason.BAD_PAYLOAD,  # it has a line of its own
}
"""Reasons of failures, for which a page has a fallback or a stale answer."""


_NO_BADGE = (
    "the app compressed this page itself or sent it as a file, so nothing on it says "
    "that it is a preview: put {{ request.state.experiences.badge() }} into the "
    "template, or leave compressing to a middleware outside of ours"
)


_NO_OVERLAY = (
    "the app compressed this page itself or sent it as a file, so it has no overlay: "
    "leave compressing to a middleware outside of ours"
)


class Personalizer:
    """The objects that all pages of one configuration share. It opens nothing itself.

    Args:
        shared_cache: None if it is not configured.
        trace: Returns the trace of the current request; None if events keep none.
        clock: Returns the time, in unix seconds.
        stopwatch: Returns the seconds of a clock that never jumps.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        fetcher: Fetcher,
        cache: MemoryCache,
        outbox: Outbox,
        shared_cache: RedisCache | None,
        catalogue: Catalogue,
        observer: Observer,
        clock: Callable[[], float],
        stopwatch: Callable[[], float],
        trace: Callable[[], str | None] | None = None,
    ) -> None:
        self.settings = settings
        self.fetcher = fetcher
        self.cache = cache
        self.shared_cache = shared_cache
        self.outbox = outbox
        self.catalogue = catalogue
        self.observer = observer
        # Reading a variation takes time, so it is done only for an observer of it.
        self.evaluated = observer.evaluated if wants_evaluations(observer) else None
        self.clock = clock
        self.stopwatch = stopwatch
        self.trace = trace
        self.timeout = settings.fetch.timeout
        self.routes = RouteTable(settings.routes)
        self.visitors = Visitors(settings, clock=clock)
        self.personalizes_bots = settings.bots.personalize == "on"
        self.click_links: ClickLinks | None
        self.beacons: MarkTokens | None
        self.previews: PreviewLinks | None
        self.click_links, self.beacons, self.previews = _signed(settings, clock)
        self.overlay = _overlay(settings, clock)
        self.logins = LoginWatch(settings.identity.customer_id)
        self.reads_session = self.logins.reads_session
        self.vary = vary_of(settings)
        self.private_lines = private_lines(self.vary)
        self.element_kit = ElementKit(
            self.click_links, self.beacons, self.miss_secret_key
        )
        events = settings.events
        self.impressions = ImpressionEncoder(
            events.platform, events.user_timezone_offset
        )
        self.server_timing = settings.fetch.server_timing
        consents = self.visitors.consents
        self.asks_consent = consents is not None
        self.serves_without_consent = consents is None or consents.anonymous
        # Whether identifying a visitor may run the app's own code, which takes time.
        self.runs_code = any(source.is_lazy for _, source in settings.sources())
        # An iterator, so that only one of several threads gets the value.
        self._unlogged = iter((True,))
        self._ending_unlogged = iter((True,))
        self.unasked_keys = UnaskedKeys(settings.routes)
        self._logger = RepeatLogger(logger)

    def ask(
        self,
        keys: Sequence[str],
        visitor: Visitor,
        visit: Visit,
        *,
        timeout: float,
    ) -> PendingAnswers:
        """Answer from the cache, and start a fetch for the other keys.

        An expired answer is served at once while a fetch refreshes it, and one of the
        last hour until then, see ``last_hour``. The page can wait for ``timeout``
        seconds.
        """
        found = self.cache.get(visitor.key, visitor.variant, keys)
        if len(found) == len(keys):
            return PendingAnswers(found)
        missing = _without(keys, found)
        found += [
            Experience(key=key, reason=Reason.NOT_ACTIVE)
            for key in missing
            if not self.catalogue.is_active(key)
        ]
        missing = _without(missing, found)
        wanted = self.settings.cache
        last_variant, now = visitor.last_variant, self.clock()
        last = last_hour(
            visitor.key, last_variant, now, ttl=wanted.ttl, stale=wanted.stale
        )
        if last is not None and not last.is_due:
            kept = self.cache.bodies(visitor.key, last.variant, missing)
            found += decode_all(kept, Source.STALE, Reason.REVALIDATING)
            missing = _without(missing, found)
        needed = missing
        for variant in (visitor.variant, *([last.variant] if last else ())):
            found += self.cache.get_stale(
                visitor.key, variant, needed, Reason.REVALIDATING
            )
            needed = _without(keys, found)
        if not missing:
            return PendingAnswers(found)
        if needed and timeout <= 0:
            late = [Experience(key=key, reason=Reason.TIMEOUT) for key in needed]
            return PendingAnswers(found + late)
        attributes = self.visitors.session_attributes(visit, visitor.attributes)
        waiting = self.fetcher.start(
            missing, visitor, attributes, timeout=timeout, last=last
        )
        return PendingAnswers(found, needed, waiting)

    def note(
        self, found: Sequence[Experience], reporting_id: str | None = None
    ) -> None:
        """Report the sources and reasons of a page's answers to observer and log."""
        answers: dict[tuple[Source, Reason | None], int] = {}
        for one in found:
            answer = (one.source, one.reason)
            answers[answer] = answers.get(answer, 0) + 1
        for (source, reason), count in answers.items():
            self._note(source, reason, count, reporting_id)
        if self.evaluated is not None:
            for one in found:
                self.evaluated(one.key, one.variation, one.source, one.reason)

    def note_cached(
        self, bodies: Mapping[str, bytes], reporting_id: str | None
    ) -> None:
        """The same for a page with encoded answers of the cache only."""
        matched = len(bodies)
        if NO_MATCH in bodies.values():
            unmatched = [*bodies.values()].count(NO_MATCH)
            matched -= unmatched
            self._note(Source.CACHE, Reason.NO_MATCH, unmatched, reporting_id)
        if matched:
            self.observer.answered(Source.CACHE, None, matched)
            if logger.isEnabledFor(logging.DEBUG):
                self._log(logging.DEBUG, Source.CACHE, None, matched, reporting_id)
        if self.evaluated is not None:
            for key, body in bodies.items():
                reason = None if body else Reason.NO_MATCH
                self.evaluated(key, variation_in(body), Source.CACHE, reason)

    def _note(
        self,
        source: Source,
        reason: Reason | None,
        count: int,
        reporting_id: str | None,
    ) -> None:
        self.observer.answered(source, reason, count)
        level = logging.INFO if reason in _FAILURES else logging.DEBUG
        if logger.isEnabledFor(level):
            self._log(level, source, reason, count, reporting_id)

    def _log(
        self,
        level: int,
        source: Source,
        reason: Reason | None,
        count: int,
        reporting_id: str | None,
    ) -> None:
        who = self.visitors.log_names.of(reporting_id)
        line = (source, reason, count)
        if level == logging.DEBUG:
            logger.debug("answered source=%s reason=%s keys=%d%s", *line, who)
        else:
            self._logger.log(
                level,
                "answered source=%s reason=%s keys=%d",
                *line,
                outcome=(source, reason),
                who=who,
            )

    def miss_secret_key(self, what: str) -> None:
        """Log, once, that a feature needs a secret key."""
        if next(self._unlogged, False):
            logger.warning(
                "secret_key_wanted by=%s: %s: set MOE_SECRET_KEY, or secret_key in "
                "moe.yml",
                *(what, WITHOUT),
            )

    def miss_ending(self, what: str, body: str) -> None:
        """Log, once, that a page ends without what should be added to it.

        Args:
            what: ``preview_badge`` or ``overlay``.
            body: Why, in a word: ``compressed`` or ``file``.
        """
        if next(self._ending_unlogged, False):
            if what == "overlay":
                logger.warning("overlay_missing body=%s: %s", body, _NO_OVERLAY)
            else:
                logger.warning("preview_badge_missing body=%s: %s", body, _NO_BADGE)

    def forget(self, visitor: bytes) -> None:
        """Drop a visitor's answers in this process, also those being fetched."""
        self.cache.forget(visitor)
        self.fetcher.forget(visitor)


def _without(keys: Sequence[str], found: Sequence[Experience]) -> list[str]:
    known = {experience.key for experience in found}
    return [key for key in keys if key not in known]


def _signed(
    settings: Settings, clock: Callable[[], float]
) -> tuple[ClickLinks, MarkTokens, PreviewLinks] | tuple[None, None, None]:
    """Return the makers of click links, elements' tokens and preview links.

    They are None without a secret key.
    """
    if settings.secret_key is None:
        return None, None, None
    secrets = [key.get_secret_value() for key in settings.secret_key]
    clicks = settings.clicks
    counted: dict[str, Any] = {
        "max_age": clicks.max_age,
        "clock": clock,
        "workspace_id": settings.workspace.id,
    }
    path = f"{clicks.path}/{LINKS}/"
    links = ClickLinks(secrets, path=path, hosts=clicks.hosts, **counted)
    previews = PreviewLinks(secrets, path=f"{clicks.path}/{PREVIEWS}/", clock=clock)
    return links, MarkTokens(secrets, **counted), previews


def _overlay(settings: Settings, clock: Callable[[], float]) -> OverlayAccess | None:
    wanted, secrets = settings.development.overlay, settings.secret_key
    for_all = wanted == "on" and settings.workspace.data_center == "sandbox"
    if wanted == "off" or not (for_all or secrets):
        return None
    keys = [secret.get_secret_value() for secret in secrets or ()]
    path = f"{settings.clicks.path}/{OVERLAY}/"
    links = OverlayLinks(keys, path=path, clock=clock) if keys else None
    return OverlayAccess(links, for_all=for_all)
