"""How a page's response begins: its headers follow what was used, and our cookies."""

from __future__ import annotations

import contextlib

from ..browser.preview_links import COOKIE, Refusal
from ..cache import visitor_key
from ..models.experiences import OPEN, SHARED
from ..models.identity import Identity
from ..models.plain_values import text_of
from ..models.reasons import Source
from ..models.texts import Headers
from ..visitors.ids import DEVICE_COOKIE, visitor_cookie
from ..visitors.waiting import CannotWaitError, waiting, waiting_here
from .page_headers import ORDINARY, is_private, personal_headers
from .page_state import PageState

_CHEAPEST_LAST = {
    Source.PREVIEW: 0,
    Source.FALLBACK: 1,
    Source.API: 2,
    Source.STALE: 3,
    Source.CACHE: 4,
}


class PageResponse(PageState):
    """A page's part in the beginning of its response."""

    __slots__ = ()

    def response_headers(self, headers: Headers, *, final: bool = True) -> Headers:
        """Return the headers to send: as they are, unless the response is personal.

        Args:
            headers: The app's.
            final: Whether they leave now, so that they cannot follow use any more.
        """
        engine, given, visitor = self._engine, headers, self._visitor
        ordinary, streams, may_log_in = True, True, engine.reads_session
        for name, _ in headers:
            if name == b"content-length":
                streams = False
            elif name not in ORDINARY:
                ordinary, lower = False, name.lower()
                if lower == b"content-length":
                    streams = False
                elif lower == b"set-cookie":
                    may_log_in = True
        if may_log_in and engine.logins.may_change(headers):
            self._forget_who_changed(headers)
        if self._match is not None:
            if engine.server_timing:
                headers = [*headers, (b"server-timing", self._server_timing())]
        elif not self.handed_out:
            # Where no route names the page, the app has to take them first.
            streams = False
        if self._preview is None and (
            (visitor.consents and not visitor.is_new)
            if visitor is not None
            else not engine.asks_consent
        ):
            # There is no cookie to be set: most pages.
            self._personal = streams or self.used
            if self._personal and ordinary:
                headers = [*headers, *engine.private_lines]
            elif self._personal:
                headers = personal_headers(headers, engine.vary)
        else:
            headers = self.private_headers(headers, needed=streams)
        if final:
            self.headers_left(given)
        return headers

    def private_headers(self, headers: Headers, *, needed: bool = False) -> Headers:
        """Return headers that keep what the page has used by now to its visitor.

        Asked again, after more was used, it adds only what is missing.

        Args:
            headers: The response's.
            needed: Whether they have to, also where nothing was used yet.
        """
        visitor = self._visitor
        cookies: list[bytes] = []
        if visitor is not None and visitor.is_new:
            name = self._engine.settings.identity.anonymous_cookie
            cookies = [self._cookie(name, visitor.visitor_id or "")]
        elif (visitor is None or not visitor.consents) and self._engine.asks_consent:
            cookies = [self._cookie(name, "") for name in self._held()]
        if self._preview is not None:
            headers = self._preview_headers(headers)
        if not (self.used or needed or cookies):
            self._personal = False
            return headers
        self._personal = True
        headers = personal_headers(headers, self._engine.vary)
        if cookies:
            headers += [(b"set-cookie", cookie) for cookie in cookies]
        return headers

    @property
    def use(self) -> tuple[bool, ...]:
        """What the headers follow: where it has changed, they are to be made again."""
        return (
            self.used,
            self.handed_out,
            self._visitor is not None,
            self._preview is not None,
        )

    def headers_left(self, headers: Headers) -> None:
        """Note that the response has begun with the headers that were made last.

        Args:
            headers: The app's.
        """
        self._headers = [] if self._personal else headers
        self.phase = OPEN if self._personal else SHARED

    def _may_still_read(self, key: object) -> bool:
        sent = ", ".join(
            value.decode("latin-1")
            for name, value in self._headers or ()
            if name.lower() == b"cache-control"
        )
        # What caches keep for others is GET's answer alone.
        if self.visit.method not in ("GET", "HEAD") or is_private(sent):
            self.phase = OPEN
            return True
        self.advise("read_too_late", str(text_of(key)))
        return False

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

    def _server_timing(self) -> bytes:
        """Say where the answers came from, and how long the page waited for them."""
        dearest, rank = "pending", len(_CHEAPEST_LAST)
        for found in self._found.values():
            source = Source.CACHE if isinstance(found, bytes) else found.source
            if _CHEAPEST_LAST[source] < rank:
                dearest, rank = source, _CHEAPEST_LAST[source]
        if not self._waited and dearest is Source.CACHE:
            return _FROM_CACHE
        return f'moe;desc="{dearest}";dur={self._waited * 1000:.1f}'.encode()

    # --- our cookies -----------------------------------------------------------

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
        if not held or self._visitor is not None:
            return held
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
            self._engine.asks_consent
            and self._visitor is None
            and bool(self._our_cookies())
        )

    async def ask_consent(self) -> None:
        """Learn whether our cookies have to go, where no route has asked it."""
        if self._consents is None:
            self._consents = await waiting(self._consent)

    def _consent(self) -> bool:
        return self._engine.visitors.consent_now(self.visit)

    def _forget_who_changed(self, headers: Headers) -> None:
        try:
            for customer in self._engine.logins.changed(
                self.visit, headers, self._customer_before
            ):
                self._forget(visitor_key(Identity(customer_id=customer)))
        except Exception as error:
            self._failed("forget_failed", error)


_FROM_CACHE = b'moe;desc="cache";dur=0.0'
"""Server-Timing of most pages."""
