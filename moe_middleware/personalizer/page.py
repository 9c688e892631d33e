"""Personalizes one request: finds its routes, its visitor and its answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Sequence
from typing import Self, TypeVar

from ..browser.preview_links import COOKIE, Preview, Refusal
from ..cache import visitor_key
from ..logs.log_lines import one_line
from ..models.experience import Experience
from ..models.experiences import SENT, SHARED
from ..models.plain_values import text_of
from ..models.reasons import Reason
from ..routes.routes import Match
from ..visitors.page_views import is_asset, is_preflight
from ..visitors.visitor import NO_VISIT, Visitor, without_id
from ..visitors.waiting import MustWaitError, Wait, waiting, waiting_here
from .current import current, on_event_loop
from .page_ending import PageEnding
from .page_response import PageResponse
from .page_threads import PageThreads
from .shared_fetches import PendingAnswers

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Page(PageEnding, PageResponse, PageThreads):
    """One request's personalization, which the app sees as its experiences.

    Args, attributes: see ``PageState``.
    """

    @property
    def is_underway(self) -> bool:
        """Whether the current code handles this page's request."""
        return not self.ended and current.get() is self

    def end(self) -> None:
        """Note that the request is over. Objects that the app keeps go on working."""
        sdk = self._sdk
        if sdk is not None and sdk.pending and self._counts and not self.ended:
            keys = ",".join(map(one_line, sdk.pending))
            logger.warning("web_sdk_not_told keys=%s: %s", keys, _PENDING)
        self.ended = True
        self.phase = SENT

    # --- before the app --------------------------------------------------------

    def find_routes(self, method: str, path: str) -> bool:
        """Find the routes of the request; False if it has none.

        Args:
            method: In upper case.
            path: Within the wrapped app, decoded.
        """
        engine = self._engine
        try:
            # Now: the handler may log the visitor in or out.
            if engine.reads_session:
                self._customer_before = engine.logins.by_session(self.visit)
            routes = engine.routes
            host = self.visit.header("host") if routes.asks_host else None
            match = routes.match(method, path, host)
            if match is None:
                return False
            # Most pages are plain, which is known without a call.
            plain = not match.path_params and method != "OPTIONS"
            if not plain and self._is_no_page(method, match):
                return False
            self._match = match
            # Every tag reads it.
            self._may_be_watched = match.impression in ("visible", "web_sdk")
        except Exception as error:
            self._failed("prefetch_failed", error)
            return False
        return True

    def _is_no_page(self, method: str, match: Match) -> bool:
        """Whether a request is clearly for no page, although routes match it.

        A path that a route has literally is a page, whatever its ending.
        """
        if method == "OPTIONS" and is_preflight(self.visit):
            return True
        return (
            bool(match.path_params)
            and self._engine.settings.fetch.assets == "off"
            and all(params for _, params in match.routes)
            and is_asset(self.visit)
        )

    def answer_at_once(self, wait: Wait | None = None) -> bool:
        """Answer the routes' keys without an event loop; False if that needs one.

        Args:
            wait: Waits for async sources in this thread. At doors without an event loop
                of their own the visitor is identified here in any case: it is the app's
                own thread, with its database connections.
        """
        engine, match = self._engine, self._match
        assert match is not None
        takes_time, keys = engine.runs_code, match.experiences
        if takes_time:
            self._start_waiting()
        try:
            visitor = waiting_here(self._meet, wait) if wait else self._meet()
            if isinstance(visitor, Reason):
                self._take(_fallbacks(keys, visitor))
                return True
            bodies = engine.cache.bodies(visitor.key, visitor.variant, keys)
            if len(bodies) < len(keys):
                return False
            # Encoded until they are read: many pages read only some. A copy, as the
            # page puts what it reads into it.
            self._found = {**bodies}
            self._all_cached = True
            if self.is_preview:
                self._take(self._all())
            else:
                engine.note_cached(bodies, visitor.reporting_id)
        except MustWaitError:
            return False
        except Exception as error:
            self._failed("prefetch_failed", error)
        finally:
            if takes_time:
                self._stop_waiting()
        return True

    async def prefetch(self) -> None:
        """Fetch the routes' experiences; failures never break the page."""
        engine, match = self._engine, self._match
        assert match is not None
        self._start_waiting()
        try:
            pending = await self._ask(match.experiences)
            self._take(pending.found)
            if pending.needed:
                self._pending_answers = pending
                if (match.prefetch or engine.settings.fetch.prefetch) == "blocking":
                    await self.ready()
        except Exception as error:
            self._failed("prefetch_failed", error)
        finally:
            self._stop_waiting()

    # --- while the app runs ------------------------------------------------------

    @property
    def pending(self) -> Sequence[str]:
        return self._pending_answers.needed if self._pending_answers is not None else ()

    def _collect(self) -> None:
        pending = self._pending_answers
        if pending is not None and pending.ended:
            self._take_late(pending)

    async def ready(self) -> Self:
        pending = self._pending_answers
        if pending is None:
            return self
        if asyncio.get_running_loop() is not self._loop:
            return await self._on_own_loop(self.ready(), self)
        await self._wait(pending)
        # Another task of the same request may have waited, too.
        if self._pending_answers is pending:
            self._take_late(pending)
        return self

    async def fetch(self, key: str) -> Experience:
        await self.ready()
        name = text_of(key)
        # A fetch makes the page personal, which caches may have stored by now.
        late = self.phase is SHARED and not self._may_still_read(key)
        if name is not None and name not in self._found and not late:
            found = await self._fetch(name)
            # Another task of the same request may have fetched it, too.
            if name not in self._found:
                self._engine.note((found,), self._reporting_id)
                self.add((found,))
        return self[key]

    async def _fetch(self, key: str) -> Experience:
        try:
            if asyncio.get_running_loop() is not self._loop:
                silent = Experience(key=key, reason=Reason.TIMEOUT)
                return await self._on_own_loop(self._fetch(key), silent)
            self._start_waiting()
            try:
                pending = await self._ask((key,))
                await self._wait(pending)
            finally:
                self._stop_waiting()
        except Exception as error:
            self._failed("fetch_failed", error)
            return Experience(key=key, reason=Reason.ERROR)
        [found] = self._with_preview(pending.found or pending.late)
        self._note_waits((found,))
        return found

    def ready_sync(self) -> Self:
        return self.block_on(self.ready(), self) if self.pending else self

    def fetch_sync(self, key: str) -> Experience:
        name = text_of(key)
        if name in self._found:
            return self[key]
        silent = Experience(key=name or "", reason=Reason.TIMEOUT)
        return self.block_on(self.fetch(key), silent)

    def forget(self) -> None:
        try:
            if self._visitor is not None:
                self._forget(self._visitor.key)
                return
            # The visitor was not identified for a route, and may have logged in since.
            self.visit.values_read.clear()
            if on_event_loop():
                steps = self._forget_unmet()
                self.forgetting = asyncio.run_coroutine_threadsafe(steps, self._loop)
            else:
                self._forget(waiting_here(self._key_of_unmet, self.wait_for))
        except Exception as error:
            self._failed("forget_failed", error)

    def _key_of_unmet(self) -> bytes:
        return visitor_key(self._engine.visitors.identify(self.visit)[0])

    async def _forget_unmet(self) -> bool:
        try:
            self._forget(await waiting(self._key_of_unmet, self.left))
        except Exception as error:
            self._failed("forget_failed", error)
        return True

    def _refuse(self, fallback: Experience) -> None:
        super()._refuse(fallback)
        self._engine.note((fallback,), self._reporting_id)

    # --- what is there, and who it is for ------------------------------------------

    def _take(self, found: Sequence[Experience]) -> None:
        found = self._with_preview(found)
        self._note_waits(found)
        self._engine.note(found, self._reporting_id)
        self.add(found)

    def _take_late(self, pending: PendingAnswers) -> None:
        """Take the answers of a concurrent fetch; further ones are not waited for."""
        # First, or taking them would look for pending ones again.
        self._pending_answers = None
        self._take(pending.late)

    def _with_preview(self, found: Sequence[Experience]) -> Sequence[Experience]:
        """Return answers with the previewed experience in place of the real one."""
        preview = self._preview
        if not isinstance(preview, Preview):
            return found
        return [preview.experience if one.key == preview.key else one for one in found]

    def _see_preview(self) -> None:
        """Read the preview that this browser has open, if any."""
        previews, token = self._engine.previews, self.visit.cookie(COOKIE)
        if previews is None or token is None:
            return
        self._preview = previews.read(token)
        self.is_preview = isinstance(self._preview, Preview)
        self.has_ending = self.has_ending or self.is_preview
        if isinstance(self._preview, Refusal):
            logger.warning("preview_refused reason=%s", self._preview)

    async def _ask(self, keys: Sequence[str]) -> PendingAnswers:
        if self._overlay_notes is not None:
            self._overlay_notes.begin(keys, self._waited_so_far)
        visitor = await waiting(self._meet, self.left)
        if isinstance(visitor, Reason):
            return PendingAnswers(_fallbacks(keys, visitor))
        # Without consent a fetch has nothing of the request.
        visit = self.visit if visitor.consents else NO_VISIT
        return self._engine.ask(keys, visitor, visit, timeout=self.left())

    def _meet_here(self) -> None:
        if self._visitor is None:
            # In this thread for the reason given in answer_at_once; a failure here
            # happens again later.
            with contextlib.suppress(Exception):
                waiting_here(self._meet, self.wait_for)

    def _meet(self) -> Visitor | Reason:
        """Return the visitor of the request, with a reason if it gets nothing.

        Raises:
            MustWaitError: Identifying the visitor needs waiting.
        """
        engine, visitor = self._engine, self._visitor
        if visitor is None:
            visit = self._visit
            if visit is None:
                visit = self._visit = self._visit_of(self._request)
            if engine.previews is not None and self._preview is None:
                self._see_preview()
            self._met_at = now = engine.clock()
            visitor = engine.visitors.recognise(visit, self._match, now)
            if visitor is None:
                return Reason.BOT
            if self.is_preview:
                # Nothing on it counts.
                visitor.reporting_id = None
            if visitor.is_new and self._headers is not None:
                self.advise("visitor_id_not_kept", None)
                visitor = without_id(visitor)
            self._visitor = visitor
        if visitor.consents or engine.serves_without_consent:
            return visitor
        return Reason.NO_CONSENT

    # --- the page's budget -----------------------------------------------------------

    async def _wait(self, pending: PendingAnswers) -> None:
        self._start_waiting()
        try:
            await pending.wait(self.left())
        finally:
            self._stop_waiting()

    def _start_waiting(self) -> None:
        """Subtract the passing time from the page's budget; overlaps count once."""
        if not self._waiting:
            self._waiting_since = self._engine.stopwatch()
        self._waiting += 1

    def _stop_waiting(self) -> None:
        self._waiting -= 1
        if not self._waiting:
            self._waited += self._engine.stopwatch() - self._waiting_since


_PENDING = "they do not count: put {{ moe_web_sdk() }} into the page, after their tags"


def _fallbacks(keys: Iterable[str], reason: Reason) -> list[Experience]:
    return [Experience(key=key, reason=reason) for key in keys]
