"""One request's way through the engine: its visit, its experiences, its impressions."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future
from inspect import CORO_CREATED, getcoroutinestate
from typing import Any, TypeVar, cast, get_args

from ..browser import script_element
from ..browser.marks import PageMarks
from ..browser.preview_badges import BadgeWriter, is_encoded, is_html, is_page_load
from ..browser.preview_links import COOKIE, Preview, Refusal
from ..browser.web_sdk import LeftToSDK
from ..cache import visitor_key
from ..logs.log_lines import one_line
from ..logs.repeated_lines import RepeatLogger
from ..models.answering import OPEN, SENT, SHARED, Counting, WebSDKApi
from ..models.events import Action, Event
from ..models.experience import Experience
from ..models.experiences import Experiences
from ..models.identity import Identity
from ..models.plain_values import attributes_of, label_of, offset_of, text_of
from ..models.reasons import Reason, Source
from ..models.texts import Headers
from ..models.urls import mounted_at
from ..models.visits import Visit
from ..routes.routes import Match
from ..settings.sections import Route
from ..visitors.bots import is_asset, is_prefetch, is_preflight
from ..visitors.ids import DEVICE_COOKIE, visitor_cookie
from ..visitors.value_readers import (
    CannotWaitError,
    MustWaitError,
    Wait,
    waiting,
    waiting_here,
)
from ..visitors.visitors import UNTOLD, Visitor, without_id
from .current import current, on_event_loop
from .page_elements import PageElements
from .page_headers import is_private, personal_headers
from .personalizer import Personalizer
from .shared_fetches import Asked

T = TypeVar("T")

logger = logging.getLogger(__name__)
_repeat_logger = RepeatLogger(logger)

GRACE = 1.0
"""What a thread waits for the request's event loop beyond the page's budget, in
seconds."""

_DEAREST_FIRST = (
    *(Source.PREVIEW, Source.FALLBACK, Source.API, Source.STALE, Source.CACHE),
)


class Page:
    """One request's personalization, from its visit to its impressions.

    Args:
        engine: The personalizer.
        request: The request as it came in: a copy that later layers do not change.
        visit_of: Makes its visit, at the first need.
        loop: The event loop that its fetches run on.

    Attributes:
        experiences: What the app sees; gone once the page has ended.
        ended: Whether the request is over.
        is_preview: Whether it shows what was forced for QA.
        identity: Whom it counts for; None before the visitor is known.
        forgetting: A word to the shared cache on its way; the response waits for it,
            or the visitor's next page might be quicker. It ends within milliseconds.
    """

    __slots__ = (
        "_asked",
        "_badge_shown",
        "_consents",
        "_counted",
        "_customer_before",
        "_elements",
        "_engine",
        "_headers",
        "_left_to_sdk",
        "_loop",
        "_match",
        "_personal",
        "_preview",
        "_request",
        "_said",
        "_time_left",
        "_visit",
        "_visit_of",
        "_visitor",
        "_waited",
        "_waiting",
        "_waiting_since",
        "ended",
        "experiences",
        "forgetting",
        "identity",
        "is_preview",
    )

    def __init__(
        self,
        engine: Personalizer,
        request: Any,
        visit_of: Callable[[Any], Visit],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._engine = engine
        self._request = request
        self._visit_of = visit_of
        self._loop = loop
        self.ended = False
        self.is_preview = False
        self.identity: Identity | None = None
        self.forgetting: Future[bool] | None = None
        self._visit: Visit | None = None
        self._match: Match | None = None
        self._visitor: Visitor | None = None
        self._preview: Preview | Refusal | None = None
        self._asked: Asked | None = None
        self._elements: PageElements | None = None
        self._left_to_sdk: LeftToSDK | None = None
        self._customer_before: str | None = None
        self._consents: bool | None = None
        self._counted = True
        self._badge_shown = False
        # The response's, where they have left without being personal.
        self._headers: Headers | None = None
        self._personal = False
        self._said: tuple[str, ...] = ()
        self._time_left = engine.timeout
        self._waited = 0.0
        self._waiting = 0
        self._waiting_since = 0.0
        self.experiences = Experiences(answering=self)

    @property
    def visit(self) -> Visit:
        """What the request tells, read at the first need."""
        if self._visit is None:
            self._visit = self._visit_of(self._request)
        return self._visit

    @property
    def is_underway(self) -> bool:
        """Whether what runs here handles this page's request."""
        return not self.ended and current.get() is self.experiences

    def end(self) -> None:
        """Let go of the app's view of it, which still leads here.

        A circle would be left for the garbage collector, at every request. What the app
        keeps of its view goes on working.
        """
        if self.ended:
            return
        self.ended = True
        if self._counted and self._left_to_sdk is not None and self._left_to_sdk.untold:
            keys = ",".join(map(one_line, self._left_to_sdk.untold))
            logger.warning("web_sdk_not_told keys=%s: %s", keys, _NOT_TOLD)
        self.experiences.phase = SENT
        del self.experiences

    # --- what the app sees ---------------------------------------------------

    def find_routes(self, method: str, path: str) -> bool:
        """Find the routes of the request; False where it has none.

        Args:
            method: In upper case.
            path: Within the wrapped app, decoded.
        """
        engine = self._engine
        try:
            if engine.logins.reads_session:
                # What fails here fails again where it is needed, and says so there.
                with contextlib.suppress(Exception):
                    self._customer_before = engine.logins.before(self.visit)
            routes = engine.routes
            host = self.visit.header("host") if routes.asks_host else None
            match = routes.match(method, path, host)
            if match is not None and self._is_no_page(method, match):
                match = None
            self._match = match
            if match is not None and match.timeout is not None:
                self._time_left = match.timeout
        except Exception as error:
            self._failed("prefetch_failed", error)
        return self._match is not None

    def _is_no_page(self, method: str, match: Match) -> bool:
        """Whether a request is plainly for no page, although routes match it.

        A path that is written out in a route is meant, whatever it ends with.
        """
        if method == "OPTIONS" and is_preflight(self.visit):
            return True
        return (
            bool(match.path_params)
            and self._engine.settings.fetch.assets == "off"
            and all(params for _, params in match.routes)
            and is_asset(self.visit)
        )

    async def prefetch(self) -> None:
        """Get what the routes name. Whatever fails, the page goes on."""
        engine, match = self._engine, self._match
        assert match is not None
        self._start_waiting()
        try:
            asked = await self._ask(match.experiences)
            self._take(asked.found)
            if asked.needed:
                self._asked = asked
                if (match.prefetch or engine.settings.fetch.prefetch) == "blocking":
                    await self.experiences.ready()
        except Exception as error:
            self._failed("prefetch_failed", error)
        finally:
            self._stop_waiting()

    def answer_at_once(self, wait: Wait | None = None) -> bool:
        """Answer what the routes name without an event loop; False where it takes one.

        Args:
            wait: Waits for async sources in this thread. At doors without a loop of
                their own the visitor is recognised here in any case: it is the app's
                own thread, where its functions find their database connections.
        """
        engine, match = self._engine, self._match
        assert match is not None
        if takes_time := engine.visitors.runs_code:
            self._start_waiting()
        try:
            visitor = waiting_here(self._meet, wait) if wait else self._meet()
            if isinstance(visitor, Reason):
                self._take(_without(match.experiences, visitor))
                return True
            found = engine.cached(match.experiences, visitor)
            if found is None:
                return False
            self._take(found)
        except MustWaitError:
            return False
        except Exception as error:
            self._failed("prefetch_failed", error)
        finally:
            if takes_time:
                self._stop_waiting()
        return True

    @property
    def elements(self) -> PageElements:
        if self._elements is not None:
            return self._elements
        elements = self._page_elements()
        elements.counts = self._counted
        if self.identity is not None:
            self._elements = elements
        return elements

    def _page_elements(self) -> PageElements:
        engine, identity = self._engine, self.identity
        if identity is None or identity.reporting_id is None:
            return PageElements(missing=engine.missing_values)
        if engine.click_links is None or engine.beacons is None:
            without = engine.miss_secret_key
            return PageElements(without=without, missing=engine.missing_values)
        marks = PageMarks(
            engine.click_links,
            identity,
            engine.beacons,
            root_path=self.visit.root_path,
            new_id=engine.new_id,
        )
        return PageElements(marks, missing=engine.missing_values)

    @property
    def watches(self) -> bool:
        return self.elements.marks is not None

    def watch(self, key: str) -> None:
        if self.elements.marks is not None:
            self.elements.marks.watch(key)

    def sight(self, key: str) -> str | None:
        marks = self._elements.marks if self._elements is not None else None
        return marks.sight(key) if marks is not None else None

    def count(self, counts: bool) -> None:
        self._counted = counts
        if self._elements is not None:
            self._elements.counts = counts

    @property
    def counting(self) -> Counting:
        for route, _ in reversed(self._match.routes if self._match else ()):
            if isinstance(route, Route) and route.impression is not None:
                return route.impression
        return "response"

    def unasked(self, key: str, place: str) -> str | None:
        """Return what to do about a key that no route asks for; None if said before."""
        return self._engine.unasked_keys.advice(key, place)

    def badge_for(self, status: int, headers: Headers) -> BadgeWriter | None:
        """Return what adds the badge to an HTML response; None for other responses.

        Its length is then open: see ``without_length``.
        """
        if self.visit.method == "HEAD":
            return None
        if not is_html(status, headers) or not (badge := self.badge()):
            return None
        if is_encoded(headers):
            self.miss_badge("compressed")
            return None
        return BadgeWriter(badge.encode(), is_wanted=is_page_load(self.visit))

    def miss_badge(self, body: str) -> None:
        """Tell the log, once, that a preview's page cannot have the badge at its end.

        Args:
            body: Why, in a word: ``compressed`` or ``file``.
        """
        if is_page_load(self.visit):
            self._engine.miss_badge(body)

    def badge(self) -> str:
        previews, preview = self._engine.previews, self._preview
        if previews is None or not isinstance(preview, Preview) or self._badge_shown:
            return ""
        self._badge_shown = True
        return previews.badge(preview, self._prefix)

    def script(self, nonce: str | None) -> str:
        if self._engine.click_links is None:
            self._engine.miss_secret_key("script")
            return ""
        return script_element(self._own_path, nonce)

    def leave_to_sdk(self, experience: Experience) -> None:
        if self._left_to_sdk is None:
            self._left_to_sdk = LeftToSDK()
        elements = self.elements
        if elements.marks is not None and experience.key in elements.marks.counted:
            logger.warning("web_sdk_late key=%s: %s", one_line(experience.key), _LATE)
        elements.left_to_sdk |= {experience.key}
        self._left_to_sdk.leave(experience)

    def web_sdk(self, nonce: str | None, api: WebSDKApi) -> str:
        given = text_of(api)
        if given in get_args(WebSDKApi):
            api = cast(WebSDKApi, given)
        else:
            told = one_line(given) if isinstance(api, str) else type(api).__name__
            logger.warning("web_sdk_api_unknown given=%s: %s", told, _NO_API)
            api = "web_p"
        if self._left_to_sdk is None:
            self._left_to_sdk = LeftToSDK()
        visitor = self._visitor
        if visitor is None or not self._may_be_counted(visitor):
            self._left_to_sdk.untold = {}
            return ""
        device = self._device_wanted(visitor)
        return self._left_to_sdk.elements(
            self._own_path, nonce=nonce, api=api, device=device
        )

    def _may_be_counted(self, visitor: Visitor) -> bool:
        return (
            visitor.consents
            and not self.is_preview
            and not (self._engine.personalizes_bots and self._is_bot())
        )

    def _device_wanted(self, visitor: Visitor) -> str | None:
        """Return the cookie that would tell the device id; None where it is known.

        Whoever takes visitor ids from elsewhere wants no other.
        """
        wanted = self._engine.settings.identity
        ours = (None, self.visit.cookie(wanted.anonymous_cookie))
        is_ours = visitor.is_new or visitor.visitor_id in ours
        if visitor.customer_id is not None or not is_ours:
            return None
        return wanted.visitor_id.cookie

    @property
    def _prefix(self) -> str:
        return mounted_at(self.visit.root_path)

    @property
    def _own_path(self) -> str:
        """Where our own paths begin, as a page writes it."""
        return self._prefix + self._engine.settings.clicks.path

    @property
    def pending(self) -> Sequence[str]:
        return self._asked.needed if self._asked is not None else ()

    def collect(self) -> Sequence[Experience]:
        asked = self._asked
        return self._late(asked) if asked is not None and asked.ended else ()

    async def ready(self) -> Sequence[Experience]:
        asked = self._asked
        if asked is None:
            return ()
        if asyncio.get_running_loop() is not self._loop:
            return await self._over_there(self.ready(), ())
        await self._wait(asked)
        # Someone else of the same request may have waited too.
        return self._late(asked) if self._asked is asked else ()

    async def fetch(self, key: str) -> Experience:
        try:
            if asyncio.get_running_loop() is not self._loop:
                silent = Experience(key=key, reason=Reason.TIMEOUT)
                return await self._over_there(self.fetch(key), silent)
            self._start_waiting()
            try:
                asked = await self._ask((key,))
                await self._wait(asked)
            finally:
                self._stop_waiting()
        except Exception as error:
            self._failed("fetch_failed", error)
            return Experience(key=key, reason=Reason.ERROR)
        [found] = self._with_preview(asked.found or asked.late)
        self._engine.note((found,), self._known)
        return found

    async def _over_there(self, steps: Coroutine[Any, Any, T], otherwise: T) -> T:
        """Await on the loop of this request: a view may have another one, for itself.

        Fetches and their connections live as long as the request's does.
        """
        try:
            async with asyncio.timeout(self._patience):
                if (sent := self._send_over(steps)) is not None:
                    return await asyncio.wrap_future(sent)
        except TimeoutError:
            self._give_up(steps)
        self._say_silent()
        return otherwise

    def _send_over(self, steps: Coroutine[Any, Any, T]) -> Future[T] | None:
        """Begin steps on the loop of this request; None where that is closed."""
        try:
            return asyncio.run_coroutine_threadsafe(steps, self._loop)
        except RuntimeError:
            steps.close()
            return None

    def _give_up(self, steps: Coroutine[Any, Any, Any]) -> None:
        """Close steps that a stopped loop has not begun, and probably never will."""
        if not self._loop.is_running() and getcoroutinestate(steps) == CORO_CREATED:
            steps.close()

    @property
    def _patience(self) -> float:
        """How long another thread waits for this request's loop, in seconds."""
        return max(0.0, self._time_left) + GRACE

    def _say_silent(self) -> None:
        state = "running" if self._loop.is_running() else "stopped"
        _repeat_logger.log(logging.WARNING, "loop_silent loop=%s: %s", state, _SILENT)

    def block_on(self, steps: Coroutine[Any, Any, T], otherwise: T) -> T:
        if on_event_loop():
            steps.close()
            raise RuntimeError(
                "this would block the event loop for every visitor: await "
                "experiences.ready() or experiences.fetch() here"
            )
        if self._visitor is None:
            # Here, for the same reason as in answer_at_once; the steps go on
            # from it, and meet what fails here again.
            with contextlib.suppress(Exception):
                waiting_here(self._meet, self.wait_for)
        if (sent := self._send_over(steps)) is not None:
            try:
                return sent.result(self._patience)
            except TimeoutError:
                sent.cancel()
                self._give_up(steps)
        self._say_silent()
        return otherwise

    def wait_for(self, value: Awaitable[T]) -> T:
        """Return what an async source gives, in a thread without an event loop."""
        if on_event_loop():
            raise CannotWaitError
        # An app's own code may take its time, but on no loop that has stopped.
        patience = None if self._loop.is_running() else self._patience
        sent = asyncio.run_coroutine_threadsafe(_awaited(value), self._loop)
        return sent.result(patience)

    def forget(self) -> None:
        try:
            if self._visitor is not None:
                self._forget(self._visitor.key)
                return
            # Whom no route has recognised, and who may have logged in since.
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
            self._forget(await waiting(self._key_of_unmet))
        except Exception as error:
            self._failed("forget_failed", error)
        return True

    def _forget(self, visitor: bytes) -> None:
        self._engine.forget(visitor)
        shared_cache = self._engine.shared_cache
        if shared_cache is not None:
            self.forgetting = asyncio.run_coroutine_threadsafe(
                shared_cache.forget(visitor), self._loop
            )

    def _take(self, found: Sequence[Experience]) -> None:
        self.experiences.add(self._noted(found))

    def _noted(self, found: Sequence[Experience]) -> Sequence[Experience]:
        found = self._with_preview(found)
        self._engine.note(found, self._known)
        return found

    def _late(self, asked: Asked) -> Sequence[Experience]:
        """Return what a fetch beside the handler brought; it is waited for no more."""
        self._asked = None
        return self._noted(asked.late)

    def _with_preview(self, found: Sequence[Experience]) -> Sequence[Experience]:
        """Return answers with that of the previewed key in place of its real one."""
        preview = self._preview
        if not isinstance(preview, Preview):
            return found
        return [preview.experience if one.key == preview.key else one for one in found]

    def _see_preview(self) -> None:
        """Read what this browser has opened, if anything."""
        previews, token = self._engine.previews, self.visit.cookie(COOKIE)
        if previews is None or token is None:
            return
        self._preview = previews.read(token)
        self.is_preview = isinstance(self._preview, Preview)
        if isinstance(self._preview, Refusal):
            logger.warning("preview_refused reason=%s", self._preview)

    async def _ask(self, keys: Sequence[str]) -> Asked:
        visitor = await waiting(self._meet)
        if isinstance(visitor, Reason):
            return Asked(_without(keys, visitor))
        told = self.visit if visitor.consents else UNTOLD
        waited = self._engine.stopwatch() - self._waiting_since
        return self._engine.ask(keys, visitor, told, timeout=self._time_left - waited)

    def _meet(self) -> Visitor | Reason:
        """Return who the request is from; for those who get nothing, why.

        Raises:
            MustWaitError: To recognise them takes waiting.
        """
        engine = self._engine
        if self._visitor is None:
            if engine.previews is not None and self._preview is None:
                self._see_preview()
            if not engine.personalizes_bots and self._is_bot():
                return Reason.BOT
            visitor = engine.visitors.recognise(self.visit, self._match)
            if visitor.is_new and self._headers is not None:
                self.advise("visitor_id_not_kept", None)
                visitor = without_id(visitor)
            self._visitor = visitor
            # Of a preview nothing counts, for anyone, on the whole page.
            self.identity = Identity() if self.is_preview else visitor.identity
        visitor, consents = self._visitor, engine.visitors.consents
        if visitor.consents or consents is None or consents.anonymous:
            return visitor
        return Reason.NO_CONSENT

    async def _wait(self, asked: Asked) -> None:
        self._start_waiting()
        try:
            waited = self._engine.stopwatch() - self._waiting_since
            await asked.wait(self._time_left - waited)
        finally:
            self._stop_waiting()

    def _start_waiting(self) -> None:
        """Take the time that passes off the page's budget; overlapping waits once."""
        if not self._waiting:
            self._waiting_since = self._engine.stopwatch()
        self._waiting += 1

    def _stop_waiting(self) -> None:
        self._waiting -= 1
        if not self._waiting:
            waited = self._engine.stopwatch() - self._waiting_since
            self._waited += waited
            self._time_left -= waited

    # --- the response --------------------------------------------------------

    def response_headers(self, headers: Headers, *, final: bool = True) -> Headers:
        """Return the headers to send: as they are, unless the response is personal.

        Args:
            headers: The app's.
            final: Whether they leave now, so that they cannot follow use any more.
        """
        engine = self._engine
        if engine.logins.may_change(headers):
            self._forget_who_changed(headers)
        if self._match is not None and engine.settings.fetch.server_timing:
            headers = [*headers, (b"server-timing", self._server_timing())]
        # Of a page that no route names only where the app has taken them in its hand.
        may_use = self._match is not None or self.experiences.handed_out
        made = self.private_headers(headers, needed=may_use and _streams(headers))
        if final:
            self.headers_left(headers)
        return made

    def private_headers(self, headers: Headers, *, needed: bool = False) -> Headers:
        """Return headers that keep what the page has used by now to its visitor.

        Asked again, after more was used, it adds only what is missing.

        Args:
            headers: The response's.
            needed: Whether they have to, also where nothing was used yet.
        """
        engine, visitor = self._engine, self._visitor
        cookies: list[bytes] = []
        if visitor is not None and visitor.is_new:
            name = engine.settings.identity.anonymous_cookie
            cookies = [self._cookie(name, visitor.visitor_id or "")]
        elif engine.visitors.consents is not None and (held := self._held()):
            cookies = [self._cookie(name, "") for name in held]
        if self._preview is not None:
            headers = self._preview_headers(headers)
        if not (cookies or needed or self.experiences.used):
            self._personal = False
            return headers
        self._personal = True
        headers = personal_headers(headers, engine.vary)
        headers += [(b"set-cookie", cookie) for cookie in cookies]
        return headers

    @property
    def use(self) -> tuple[bool, ...]:
        """What the headers follow: where it has changed, they are to be made again."""
        return (
            self.experiences.used,
            self.experiences.handed_out,
            self._visitor is not None,
            self._preview is not None,
        )

    def headers_left(self, headers: Headers) -> None:
        """Note that the response has begun with the headers that were made last.

        Args:
            headers: The app's.
        """
        self._headers = [] if self._personal else headers
        self.experiences.phase = OPEN if self._personal else SHARED

    def _preview_headers(self, headers: Headers) -> Headers:
        """Return headers that nobody keeps the page under, not even this browser.

        A cookie that opens nothing, or no more, goes.
        """
        kept = [one for one in headers if one[0].lower() != b"cache-control"]
        kept.append((b"cache-control", b"no-store"))
        if isinstance(self._preview, Refusal):
            secure = self._engine.visitors.is_https(self.visit)
            gone = visitor_cookie(COOKIE, "", max_age=0, secure=secure)
            kept.append((b"set-cookie", gone.encode()))
        return kept

    def _cookie(self, name: str, visitor_id: str) -> bytes:
        """Return the Set-Cookie that keeps an id; an empty one takes it back."""
        engine = self._engine
        max_age = int(engine.settings.identity.anonymous_max_age)
        return visitor_cookie(
            name,
            visitor_id,
            max_age=max_age if visitor_id else 0,
            secure=engine.visitors.is_https(self.visit),
        ).encode("latin-1")

    def _held(self) -> list[str]:
        """Return our cookies that someone without consent still has."""
        held = self._our_cookies()
        if not held:
            return []
        if self._visitor is not None:
            return [] if self._visitor.consents else held
        # Where it cannot be told here, the next page that is mapped tells.
        with contextlib.suppress(CannotWaitError):
            if self._consents is None:
                self._consents = waiting_here(self._consent, self.wait_for)
        return held if self._consents is False else []

    def _our_cookies(self) -> list[str]:
        ours = (self._engine.settings.identity.anonymous_cookie, DEVICE_COOKIE)
        return [name for name in ours if self.visit.cookie(name) is not None]

    @property
    def owes_consent(self) -> bool:
        """Whether ``ask_consent`` is needed before the response's headers."""
        return (
            self._engine.visitors.consents is not None
            and self._visitor is None
            and bool(self._our_cookies())
        )

    async def ask_consent(self) -> None:
        """Learn whether our cookies have to go, where no route has asked it."""
        if self._consents is None:
            self._consents = await waiting(self._consent)

    def _consent(self) -> bool:
        return self._engine.visitors.consent_now(self.visit)

    def _server_timing(self) -> bytes:
        """Say where the answers came from, and how long the page waited for them."""
        sources = self.experiences.sources
        said = next((one for one in _DEAREST_FIRST if one in sources), "pending")
        return f'moe;desc="{said}";dur={self._waited * 1000:.1f}'.encode()

    def _forget_who_changed(self, headers: Headers) -> None:
        try:
            for customer in self._engine.logins.changed(
                self.visit, headers, self._customer_before
            ):
                self._forget(visitor_key(Identity(customer_id=customer)))
        except Exception as error:
            self._failed("forget_failed", error)

    def may_still_read(self, key: str) -> bool:
        sent = ", ".join(
            value.decode("latin-1")
            for name, value in self._headers or ()
            if name.lower() == b"cache-control"
        )
        # What caches keep for others is GET's answer alone.
        if self.visit.method not in ("GET", "HEAD") or is_private(sent):
            return True
        self.advise("read_too_late", key)
        return False

    def record(self, status: int) -> None:
        """Turn what was shown into events, now that the last byte is sent.

        Whatever fails, the response is out and stays good.
        """
        shown = self.experiences.shown
        if not shown or not self._counts(status):
            return
        try:
            now = int(self._engine.clock())
            self._engine.outbox.append(
                [self._event(Action.IMPRESSION, one, now) for one in shown]
            )
        except Exception as error:
            self._failed("record_failed", error)

    def track(
        self, action: Action, experience: Experience, **fields: Any
    ) -> str | None:
        try:
            fields["user_attributes"] = attributes_of(fields["user_attributes"])
            if "b_id" in fields:
                fields["b_id"] = label_of(fields["b_id"])
            offset = offset_of(fields.pop("user_timezone_offset"))
            if offset is not None:
                fields["user_timezone_offset"] = offset
        except ValueError as error:
            logger.warning(
                "event_refused key=%s: %s: %s", one_line(experience.key), error, _PLAIN
            )
            return None
        try:
            event = self._event(action, experience, int(self._engine.clock()), **fields)
            self._engine.outbox.append([event])
        except Exception as error:
            self._failed("record_failed", error)
            return None
        return event.uuid

    def advise(self, event: str, key: object, reason: Reason | None = None) -> None:
        said = f"{event} {key}"
        if said in self._said:
            return
        self._said = (*self._said, said)
        about = "" if key is None else f" key={one_line(key)}"
        about += "" if reason is None else f" reason={reason}"
        logger.warning("%s%s: %s", event, about, _ADVICE[event])

    def _event(
        self, action: Action, experience: Experience, occurred_at: int, **fields: Any
    ) -> Event:
        engine = self._engine
        customer_id = self.identity.reporting_id if self.identity is not None else None
        assert customer_id is not None
        events = engine.settings.events
        given = {"user_timezone_offset": events.user_timezone_offset, **fields}
        return Event(
            uuid=given.pop("uuid", None) or engine.new_id(),
            customer_id=customer_id,
            action=action,
            occurred_at=occurred_at,
            experience_context=experience.experience_context,
            platform=events.platform,
            **given,
        )

    def _counts(self, status: int) -> bool:
        """Whether someone saw it, and someone whom an event can name."""
        visit = self.visit
        return (
            (200 <= status < 300 or status == 304)
            and visit.method != "HEAD"
            and self.identity is not None
            and self.identity.reporting_id is not None
            and not (self._engine.personalizes_bots and self._is_bot())
            and not is_prefetch(visit)
        )

    @property
    def _known(self) -> str | None:
        """The id of who the request is from, as far as that is known by now."""
        return self._visitor.reporting_id if self._visitor is not None else None

    def _is_bot(self) -> bool:
        return self._engine.visitors.is_bot(self.visit)

    def _failed(self, outcome: str, error: Exception) -> None:
        # The error's text may hold an id; its class and place do not.
        who = self._engine.visitors.log_names.of(self._known)
        logger.error("%s error=%s%s", outcome, type(error).__name__, who)
        logger.debug("%s", outcome, exc_info=error)


_SILENT = (
    "a thread has asked this request's event loop for experiences; it has stopped or "
    "is held up, so these are fallbacks: ask before it ends, and keep blocking calls "
    "off it"
)

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
_PLAIN = "user_attributes take texts, numbers, booleans, lists and dicts of them"
_NOT_TOLD = "they do not count: put {{ moe_web_sdk() }} into the page, after their tags"
_LATE = (
    "it has a link or a mark on this page that the server counts too: say "
    "impression: web_sdk for its route or its tag"
)
_NO_API = "it is 'web_p' or 'personalize'; the page takes 'web_p'"


async def _awaited(value: Awaitable[T]) -> T:
    return await value


def _streams(headers: Headers) -> bool:
    """Whether a page may still use its experiences after this start."""
    return b"content-length" not in [name.lower() for name, _ in headers]


def _without(keys: Sequence[str], reason: Reason) -> list[Experience]:
    return [Experience(key=key, reason=reason) for key in keys]
