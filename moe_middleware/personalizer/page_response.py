"""The headers of a page's response: private if personal, and our cookies."""

from __future__ import annotations

import contextlib

from ..browser.html_endings import has_html
from ..browser.preview_links import COOKIE, Refusal
from ..cache import visitor_key
from ..models.experiences import OPEN, SHARED
from ..models.identity import Identity
from ..models.plain_values import text_of
from ..models.reasons import Source
from ..models.texts import Headers
from ..visitors.ids import DEVICE_COOKIE, visitor_cookie
from ..visitors.waiting import CannotWaitError, waiting, waiting_here
from .page_caching import (
    ORDINARY,
    is_private,
    is_streamed,
    never_stored,
    personal_headers,
)
from .page_state import PageState

_CHEAPEST_LAST = {
    Source.PREVIEW: 0,
    Source.FALLBACK: 1,
    Source.API: 2,
    Source.STALE: 3,
    Source.CACHE: 4,
}


class PageResponse(PageState):
    """The methods of a page that change the response's headers."""

    def response_headers(self, headers: Headers, *, final: bool = True) -> Headers:
        """Return the headers to send: unchanged, unless the response is personal.

        If ``final``, they are sent now, and cannot change any more.
        """
        engine, given, visitor = self._engine, headers, self._visitor
        ordinary, may_log_in = True, engine.reads_session
        for name, _ in headers:
            if name not in ORDINARY:
                ordinary = False
                if name.lower() == b"set-cookie":
                    may_log_in = True
        if may_log_in and engine.logins.may_change(headers):
            self._forget_who_changed(headers)
        if self._match is not None and engine.server_timing:
            at_once = self._all_cached and not self._waited
            timing = _FROM_CACHE if at_once else self._server_timing()
            headers = [*headers, (b"server-timing", timing)]
        # Without a route, the app must take the experiences before it can read them.
        personal = self.used or (
            (self.handed_out or self._match is not None) and is_streamed(given)
        )
        if self._preview is not None or (
            engine.asks_consent
            if visitor is None
            else visitor.is_new or not visitor.consents
        ):
            headers = self.private_headers(headers, needed=personal)
            personal = self._personal
        elif personal:
            # No cookie is to be set, as on most pages.
            headers = (
                [*headers, *engine.private_lines]
                if ordinary
                else personal_headers(headers, engine.vary)
            )
        self._personal = personal
        if final:
            # As headers_left does.
            self._headers = given
            if not personal:
                self.phase = SHARED
        # The overlay changes none of the above: a page behaves as it does without.
        if self.has_ending and self._overlay_notes is not None and has_html(headers):
            headers = never_stored(headers)
        return headers

    def private_headers(self, headers: Headers, *, needed: bool = False) -> Headers:
        """Return headers that make the page private, for its uses so far.

        Called again after further uses, it adds only missing ones. If ``needed``, the
        page is private without any use, too.
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
        """The state that the headers depend on: if it changes, make them again."""
        return (
            self.used,
            self.handed_out,
            self._visitor is not None,
            self._preview is not None,
        )

    def headers_left(self, headers: Headers) -> None:
        """Note that the response has begun with the headers that were made last."""
        self._headers = headers
        self.phase = OPEN if self._personal else SHARED

    def _may_still_read(self, key: object) -> bool:
        sent = ", ".join(
            value.decode("latin-1")
            for name, value in self._headers or ()
            if name.lower() == b"cache-control"
        )
        # Caches store GET's responses only.
        if self.visit.method not in ("GET", "HEAD") or is_private(sent):
            self.phase = OPEN
            return True
        self.advise("read_too_late", str(text_of(key)))
        return False

    def _preview_headers(self, headers: Headers) -> Headers:
        """Return headers that forbid all caches, also the browser's, to keep the page.

        The cookie of an invalid or expired preview is removed.
        """
        kept = never_stored(headers)
        if isinstance(self._preview, Refusal):
            secure = self._engine.visitors.is_https(self.visit)
            gone = visitor_cookie(COOKIE, "", max_age=0, secure=secure)
            kept.append((b"set-cookie", gone.encode()))
        return kept

    def _server_timing(self) -> bytes:
        """Return a Server-Timing with the answers' sources and the waiting time."""
        dearest, rank = "pending", len(_CHEAPEST_LAST)
        for found in self._found.values():
            source = Source.CACHE if isinstance(found, bytes) else found.source
            if _CHEAPEST_LAST[source] < rank:
                dearest, rank = source, _CHEAPEST_LAST[source]
        return f'moe;desc="{dearest}";dur={self._waited * 1000:.1f}'.encode()

    # --- our cookies -----------------------------------------------------------

    def _cookie(self, name: str, visitor_id: str) -> bytes:
        """Return the Set-Cookie for an id; an empty one removes it."""
        engine = self._engine
        max_age = int(engine.settings.identity.anonymous_max_age)
        return visitor_cookie(
            name,
            visitor_id,
            max_age=max_age if visitor_id else 0,
            secure=engine.visitors.is_https(self.visit),
        ).encode("latin-1")

    def _held(self) -> list[str]:
        """Return our cookies that a visitor without consent still has."""
        held = self._our_cookies()
        if not held or self._visitor is not None:
            return held
        # If it cannot be determined here, the next mapped page does so.
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
            and self._consents is None
            and bool(self._our_cookies())
        )

    async def ask_consent(self) -> None:
        """Determine whether our cookies must be removed, if no route has done so."""
        if self._consents is None:
            self._consents = await waiting(self._consent, self.left)

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
