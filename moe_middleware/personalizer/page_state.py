"""The state of one request's page, which the app sees as its experiences."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Future
from typing import Any, TypeVar, cast

from ..browser.overlay_access import OverlayAccess
from ..browser.preview_links import Preview, Refusal
from ..browser.web_sdk import LeftToSDK
from ..cache.encoding import read_kept
from ..logs.log_lines import one_line
from ..models.experience import EMPTY, Experience, bind
from ..models.experiences import Experiences
from ..models.identity import Identity
from ..models.reasons import Reason, Source
from ..models.texts import Headers
from ..models.visits import Visit
from ..routes.routes import Match
from ..visitors.visitor import Visitor
from ..visitors.waiting import CannotWaitError, SlowSourceError
from .current import on_event_loop
from .overlay_notes import OverlayNotes
from .page_elements import PageElements
from .personalizer import Personalizer
from .shared_fetches import PendingAnswers

T = TypeVar("T")

logger = logging.getLogger(__name__)


class PageState(Experiences):
    """The experiences of a request, with the state of its personalization.

    The behaviour is in classes without a state of their own: ``Page`` has the fetches,
    ``PageMarkup``, ``Impressions``, ``PageEnding``, ``PageResponse`` and
    ``PageThreads`` have the rest.

    Args:
        request: The request as it came in: a copy that later layers do not change.
        visit_of: Makes its visit when it is first needed.
        loop: The event loop that its fetches run on.

    Attributes:
        ended: Whether the request is over.
        is_preview: Whether it shows a preview for QA.
        has_ending: Whether its HTML ends with a preview's badge, or with the overlay.
        forgetting: The pending invalidation in the shared cache; the response waits for
            it, or the visitor's next page might be quicker. It takes milliseconds.
    """

    # Defaults that only some requests change.
    ended = False
    is_preview = False
    has_ending = False
    forgetting: Future[bool] | None = None
    _found: dict[str, Experience | bytes] = cast(Any, EMPTY)
    _visit: Visit | None = None
    # Whether all answers so far are cached ones.
    _all_cached = False
    _visitor: Visitor | None = None
    _met_at = 0.0
    _preview: Preview | Refusal | None = None
    _pending_answers: PendingAnswers | None = None
    _elements: PageElements | None = None
    # Impressions that the server does not report: the Web SDK does, or track_impression
    # has.
    _left_to_sdk: frozenset[str] = frozenset()
    _tracked: frozenset[str] = frozenset()
    _may_be_watched = False
    _sdk: LeftToSDK | None = None
    _customer_before: str | None = None
    _consents: bool | None = None
    _badge_shown = False
    # The nonce that the page gave one of our scripts.
    _nonce: str | None = None
    _overlay_notes: OverlayNotes | None = None
    _personal = False
    # The response's, where they have left without being personal.
    _headers: Headers | None = None
    _advised: tuple[str, ...] = ()
    _waited = 0.0
    _waiting_since = 0.0
    _waiting = 0

    def __init__(
        self,
        engine: Personalizer,
        request: Any,
        visit_of: Callable[[Any], Visit],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        # Not by Experiences' own: this is made for every request.
        self._engine = engine
        self._request = request
        self._visit_of = visit_of
        self._loop = loop
        # Read by every page, and faster than the class's.
        self._match: Match | None = None
        self._visitor = self._shown = None
        self.used = self.handed_out = self.has_ending = False
        if engine.overlay is not None:
            self._begin_overlay(engine.overlay)

    def _begin_overlay(self, overlay: OverlayAccess) -> None:
        try:
            if overlay.shows_on(self.visit):
                self._overlay_notes = OverlayNotes()
                self.has_ending = True
        except Exception as error:
            self._failed("overlay_failed", error)

    @property
    def visit(self) -> Visit:
        """The request, read when it is first needed."""
        if self._visit is None:
            self._visit = self._visit_of(self._request)
        return self._visit

    @property
    def identity(self) -> Identity:
        if self._identity is None:
            if self._visitor is None:
                return Identity()
            # On a preview nothing counts.
            self._identity = Identity() if self.is_preview else self._visitor.identity
        return self._identity

    @property
    def elements(self) -> PageElements:
        """The maker of links and marks for the page's elements."""
        elements = self._elements
        if elements is None:
            visitor = self._visitor
            elements = PageElements(
                self._engine.element_kit,
                None if visitor is None else visitor.reporting_id,
                self._visit or self.visit,
                self._counts,
            )
            # Without a visitor nothing counts: a later call makes better ones.
            if visitor is not None:
                self._elements = elements
        return elements

    def add(self, found: Iterable[Experience]) -> None:
        """Add answers, bound to this page."""
        # The Server-Timing has to look at each from now on.
        self._all_cached = False
        if not self._found:
            self._found = {}
        for experience in found:
            bind(experience, self.elements)
            self._found[experience.key] = experience

    def _made(self, key: str, found: Experience | bytes) -> Experience:
        if isinstance(found, bytes):
            elements = self._elements or self.elements
            found = self._found[key] = read_kept(key, found, elements)
        return found

    @property
    def sources(self) -> frozenset[Source]:
        return frozenset(
            [
                Source.CACHE if isinstance(found, bytes) else found.source
                for found in self._found.values()
            ]
        )

    # --- what several of a page's parts do ------------------------------------------

    def advise(self, event: str, key: object, reason: Reason | None = None) -> None:
        """Log a key that cannot be read, or counted, in this way."""
        line = f"{event} {key}"
        if line in self._advised:
            return
        self._advised = (*self._advised, line)
        about = "" if key is None else f" key={one_line(key)}"
        about += "" if reason is None else f" reason={reason}"
        logger.warning("%s%s: %s", event, about, _ADVICE[event])

    def wait_for(self, value: Awaitable[T]) -> T:
        """Return the value of an async source, in a thread without an event loop."""
        if on_event_loop():
            raise CannotWaitError
        sent = asyncio.run_coroutine_threadsafe(_awaited(value), self._loop)
        try:
            return sent.result(self.left())
        except TimeoutError:
            if sent.done():
                raise
            sent.cancel()
            raise SlowSourceError from None

    def left(self) -> float:
        """Return the seconds that the page may still wait for experiences."""
        return max(0.0, self._budget - self._waited_so_far)

    @property
    def _waited_so_far(self) -> float:
        """Seconds that the page has waited for experiences until now."""
        if not self._waiting:
            return self._waited
        return self._waited + self._engine.stopwatch() - self._waiting_since

    @property
    def _budget(self) -> float:
        """Seconds that the page may wait for experiences."""
        of_routes = None if self._match is None else self._match.timeout
        return self._engine.timeout if of_routes is None else of_routes

    def _forget(self, visitor: bytes) -> None:
        self._engine.forget(visitor)
        shared_cache = self._engine.shared_cache
        if shared_cache is not None:
            self.forgetting = asyncio.run_coroutine_threadsafe(
                shared_cache.forget(visitor), self._loop
            )

    def _failed(self, outcome: str, error: Exception) -> None:
        # The error's text may contain an id; its class and place cannot.
        who = self._engine.visitors.log_names.of(self._reporting_id)
        logger.error("%s error=%s%s", outcome, type(error).__name__, who)
        logger.debug("%s", outcome, exc_info=error)

    @property
    def _reporting_id(self) -> str | None:
        """The id for the page's events; None without one, or not known yet."""
        return self._visitor.reporting_id if self._visitor is not None else None


async def _awaited(value: Awaitable[T]) -> T:
    return await value


_ADVICE = {
    "counting_unknown": "an impression is 'response', 'visible' or 'web_sdk'; this one "
    "counts as its route says",
    "read_too_late": "the response had begun as one that caches may serve to others, "
    "so this is a fallback: read request.state.experiences before it begins, name the "
    "path in a route of moe.yml, or send 'Cache-Control: private'",
    "shown_too_late": "the response has ended, so this impression does not count: "
    "call show() before, or track_impression() here",
    "track_ignored": "nothing is there to count: name the key in a route of moe.yml, "
    "or fetch it first",
    "visitor_id_not_kept": "the response had begun before the first fetch of a new "
    "visitor: no cookie can keep an id, so nothing counts. Fetch before it begins, or "
    "name the path in a route of moe.yml",
}
