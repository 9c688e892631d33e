"""One request's way through the engine: its visit, its experiences, its impressions."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from .addresses import client_address
from .attributes import session_attributes
from .identity import minted_id, usable_id, visitor_cookie
from .models import Action, Event, Experience, Experiences, Identity, Reason
from .personalizer import Personalizer
from .response_headers import Headers, personal_headers
from .routes import Match
from .sources import read_text, read_texts
from .unseen import PURPOSE_HEADERS, is_prefetch
from .visits import Visit

logger = logging.getLogger(__name__)


class Page:
    """One request's personalization, from its visit to its impressions.

    Attributes:
        experiences: What the app sees.
    """

    __slots__ = (
        "_attributes",
        "_engine",
        "_match",
        "_new_visitor_id",
        "_time_left",
        "_visit",
        "experiences",
    )

    def __init__(self, engine: Personalizer, visit: Visit) -> None:
        self._engine = engine
        self._visit = visit
        self._match: Match | None = None
        self._attributes: dict[str, str] | None = None
        self._new_visitor_id: str | None = None
        self._time_left = engine.settings.fetch.timeout
        self.experiences = Experiences(fetch=self._fetch)

    async def prefetch(self) -> None:
        """Get what the page's routes name. Whatever fails, the page goes on."""
        visit, routes = self._visit, self._engine.routes
        try:
            host = visit.header("host") if routes.asks_host else None
            match = routes.match(visit.method, visit.path, host)
            if match is None:
                return
            self._match = match
            if match.timeout is not None:
                self._time_left = match.timeout
            found = await self._answer(match.experiences)
            self.experiences.add(found)
        except Exception as error:
            self._failed("prefetch_failed", error)

    async def _fetch(self, key: str) -> Experience:
        try:
            [found] = await self._answer((key,))
        except Exception as error:
            self._failed("fetch_failed", error)
            return Experience(key=key, reason=Reason.ERROR)
        return found

    async def _answer(self, keys: Sequence[str]) -> list[Experience]:
        if self._attributes is None:
            await self._meet()
        assert self._attributes is not None
        started = self._engine.stopwatch()
        found = await self._engine.answer(
            keys,
            identity=self.experiences.identity,
            attributes=self._attributes,
            timeout=self._time_left,
        )
        self._time_left -= self._engine.stopwatch() - started
        return found

    async def _meet(self) -> None:
        """Find out who the visitor is and what the visit is like."""
        engine, visit, match = self._engine, self._visit, self._match
        settings = engine.settings
        if match is not None:
            visit.path_params = match.path_params
        self.experiences.identity = await self._identify()
        attributes = session_attributes(
            now=engine.clock(),
            address=self._address(),
            user_agent=visit.header("user-agent"),
        )
        if settings.attributes:
            attributes |= await read_texts(
                settings.attributes, visit, visit.path_params
            )
        for route, route_params in match.routes if match else ():
            if route.attributes:
                attributes |= await read_texts(route.attributes, visit, route_params)
        self._attributes = attributes

    def _address(self) -> str | None:
        visit, trusted = self._visit, self._engine.trusted
        if visit.peer not in trusted:
            return client_address(visit.peer, (), (), trusted)
        return client_address(
            visit.peer,
            visit.headers("forwarded"),
            visit.headers("x-forwarded-for"),
            trusted,
        )

    async def _identify(self) -> Identity:
        wanted, visit = self._engine.settings.identity, self._visit
        params = visit.path_params
        visitor_id = None
        customer_id = usable_id(await read_text(wanted.customer_id, visit, params))
        if customer_id is None:
            visitor_id = usable_id(await read_text(wanted.visitor_id, visit, params))
        if customer_id is None and visitor_id is None and wanted.anonymous == "on":
            visitor_id = minted_id(visit.cookie(wanted.anonymous_cookie))
            if visitor_id is None and not self._is_bot():
                visitor_id = self._new_visitor_id = self._engine.new_id()
        identifiers = {}
        if wanted.user_identifiers:
            identifiers = await read_texts(wanted.user_identifiers, visit, params)
        return Identity(
            customer_id=customer_id, visitor_id=visitor_id, user_identifiers=identifiers
        )

    # --- the response ------------------------------------------------------

    def response_headers(self, headers: Headers) -> Headers:
        """Return the headers to send: as they are, unless the response is personal."""
        if not (
            self.experiences.used or self._new_visitor_id or self._streams(headers)
        ):
            return headers
        headers = personal_headers(headers, self._engine.vary)
        if self._new_visitor_id:
            wanted = self._engine.settings.identity
            cookie = visitor_cookie(
                wanted.anonymous_cookie,
                self._new_visitor_id,
                max_age=int(wanted.anonymous_max_age),
                secure=self._is_https(),
            )
            headers.append((b"set-cookie", cookie.encode("latin-1")))
        return headers

    def _streams(self, headers: Headers) -> bool:
        """Whether a mapped page may still use its experiences after this start."""
        return self._match is not None and not any(
            name.lower() == b"content-length" for name, _ in headers
        )

    def _is_https(self) -> bool:
        visit = self._visit
        if visit.peer in self._engine.trusted:
            # Of several proxies' words, the first is about the visitor's own hop.
            told = (visit.header("x-forwarded-proto") or "").partition(",")[0]
            return (told.strip() or visit.scheme) == "https"
        return visit.scheme == "https"

    def record(self, status: int) -> None:
        """Turn what was shown into events, now that the last byte is sent.

        Whatever fails, the response is out and stays good.
        """
        shown = self.experiences.shown
        if not shown or not self._counts(status):
            return
        try:
            self._engine.outbox.append(self._impressions(shown))
        except Exception as error:
            self._failed("record_failed", error)

    def _impressions(self, shown: Iterable[Experience]) -> list[Event]:
        engine, customer_id = self._engine, self.experiences.identity.reporting_id
        assert customer_id is not None
        events = engine.settings.events
        occurred_at = int(engine.clock())
        return [
            Event(
                uuid=engine.new_id(),
                customer_id=customer_id,
                action=Action.IMPRESSION,
                occurred_at=occurred_at,
                experience_context=experience.experience_context,
                platform=events.platform,
                user_timezone_offset=events.user_timezone_offset,
            )
            for experience in shown
        ]

    def _counts(self, status: int) -> bool:
        """Whether someone saw it, and someone whom an event can name."""
        visit = self._visit
        return (
            (200 <= status < 300 or status == 304)
            and visit.method != "HEAD"
            and self.experiences.identity.reporting_id is not None
            and not self._is_bot()
            and not is_prefetch(*visit.any_of(PURPOSE_HEADERS))
        )

    def _is_bot(self) -> bool:
        return self._engine.bots.is_bot(self._visit.header("user-agent"))

    def _failed(self, outcome: str, error: Exception) -> None:
        # The error's text may hold an id; its class and place do not.
        logger.error("%s error=%s", outcome, type(error).__name__)
        logger.debug("%s", outcome, exc_info=error)
