"""Identifies visitors, and finds the variant of their answers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Set
from types import MappingProxyType

from ..cache import key_of_ids, visitor_key
from ..models.experience import EMPTY
from ..models.identity import Identity
from ..models.ids import new_id
from ..models.visits import Visit
from ..routes.routes import Match
from ..settings.settings import Settings
from .addresses import TrustedProxies, client_address
from .bots import MAX_USER_AGENT, bot_judge, load_crawlers
from .consents import Consents
from .ids import DEVICE_COOKIE, device_id, minted_id
from .log_names import LogNames
from .named_attributes import NamedAttributes
from .session_attributes import OF_THE_HOUR, session_attributes, variants
from .value_readers import SourceReader
from .visitor import NO_VISIT, Visitor
from .waiting import waiting

logger = logging.getLogger(__name__)


class Visitors:
    """Identifies the visitor of a request.

    Sources are read synchronously: MustWaitError is raised if a value needs waiting,
    and ``waiting`` waits for it.

    Args:
        clock: The time, in unix seconds.

    Raises:
        SettingsError: The package for ``bots.library`` is missing.

    Attributes:
        log_names: The visitors' names in log lines.
        consents: Reads the consent; None if everyone consents.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], float]) -> None:
        wanted, reader = settings.identity, SourceReader()
        self._vary: Collection[str] | None = settings.cache.vary
        self._vary_in_vain = _unknown_names(settings)
        self._clock = clock
        # The seconds that a source may take outside of a page.
        self._left = lambda: settings.fetch.timeout
        bots = settings.bots
        library = load_crawlers() if bots.library == "on" else None
        self._judge = bot_judge(bots.also, bots.never, library)
        self._turns_bots_away = bots.personalize != "on"
        self._trusted = TrustedProxies(settings.trusted_proxies)
        self.log_names = LogNames(settings.log_ids)
        consent = settings.consent
        self.consents = None if consent is None else Consents(consent, reader)
        self._plain_hour = -1.0
        self._plain_variants = (b"", b"")
        self._customer_id = reader.id(wanted.customer_id)
        self._visitor_id = reader.id(wanted.visitor_id)
        by_cookie = wanted.visitor_id.kind == "cookie"
        self._device_cookie = DEVICE_COOKIE if by_cookie else None
        self._mints = wanted.anonymous == "on"
        self._our_cookie = wanted.anonymous_cookie if self._mints else None
        self._identifiers = {
            name: reader.id(source) for name, source in wanted.user_identifiers.items()
        }
        self._attributes = NamedAttributes(settings.attributes, reader)
        # By the route's id(), which is fixed while its settings exist.
        self._of_routes = {
            id(route): NamedAttributes(route.attributes, reader)
            for route in settings.routes
            if route.attributes
        }

    def recognise(
        self, visit: Visit, match: Match | None, now: float
    ) -> Visitor | None:
        """Return the visitor of a request; None for a bot that gets nothing.

        Raises:
            MustWaitError: A value needs waiting.
        """
        if self._turns_bots_away:
            # The same as is_bot without its call: every page runs this.
            header = visit.first_headers.get(b"user-agent")
            if header is not None and self._judge(header[:MAX_USER_AGENT]):
                return None
        vary = self._vary
        if match is not None:
            if match.path_params:
                visit.path_params = MappingProxyType(match.path_params)
            if match.vary is not None:
                vary = match.vary
        if self._vary_in_vain and vary and not self._vary_in_vain.isdisjoint(vary):
            # With all attributes, no visitor gets the answer of another.
            vary = None
        if self.consents is not None and not self.consents.given(visit):
            of_page = self._named(visit, match, of_the_page=True)
            variant, last = self._variants(NO_VISIT, {}, of_page, vary, now)
            key = visitor_key(Identity())
            return Visitor(None, None, {}, False, of_page, key, variant, last, False)
        visitor_id, is_new = None, False
        identifiers: Mapping[str, str] = EMPTY
        attributes: Mapping[str, str] = EMPTY
        # A known customer needs no id of the browser, and gets no cookie.
        customer_id = self._customer_id(visit, visit.path_params)
        if customer_id is None:
            visitor_id, is_new = self._anonymous_id(visit)
        if self._identifiers:
            identifiers = self._user_identifiers(visit)
        if self._of_routes or self._attributes.readers:
            attributes = self._named(visit, match, of_the_page=False)
        if attributes or vary or identifiers or self._plain_hour != now // 3600:
            variant, last = self._variants(visit, identifiers, attributes, vary, now)
        else:
            variant, last = self._plain_variants
        return Visitor(
            customer_id,
            visitor_id,
            identifiers,
            is_new,
            attributes,
            key_of_ids(customer_id, visitor_id, identifiers),
            variant,
            last,
            True,
            customer_id or visitor_id,
        )

    def identify(self, visit: Visit) -> tuple[Identity, bool]:
        """Return the ids of a request, and whether one was made for it.

        A visitor without consent has none.

        Raises:
            MustWaitError: A value needs waiting.
        """
        if not self.consent_now(visit):
            return Identity(), False
        visitor_id, is_new = None, False
        customer_id = self._customer_id(visit, visit.path_params)
        if customer_id is None:
            visitor_id, is_new = self._anonymous_id(visit)
        identity = Identity(
            customer_id=customer_id,
            visitor_id=visitor_id,
            user_identifiers=self._user_identifiers(visit),
        )
        return identity, is_new

    async def log_name(self, visit: Visit) -> str:
        """Return the end of a log line about a request; usually empty."""
        if not self.log_names.wanted:
            return ""
        try:
            identity, is_new = await waiting(lambda: self.identify(visit), self._left)
        except Exception:
            return ""
        return "" if is_new else self.log_names.of(identity.reporting_id)

    async def known_as(self, visit: Visit) -> list[Identity]:
        """Return all identities that a request's earlier pages may have had.

        A visitor who logs in, or whose device id becomes known, gets another identity;
        events of an earlier page count for the identity of that page. The current one
        comes first. Without consent there is none.
        """
        return await waiting(lambda: self._known_as(visit), self._left)

    def _known_as(self, visit: Visit) -> list[Identity]:
        if not self.consent_now(visit):
            return []
        identity, is_new = self.identify(visit)
        known = [] if is_new else [identity]
        for visitor_id in (self._device(visit), self._minted(visit)):
            if visitor_id is not None:
                known.append(Identity(visitor_id=visitor_id))
        return [one for one in known if one.reporting_id is not None]

    async def wants_device_id(self, visit: Visit) -> bool:
        """Whether the cookie with a device id is missing, for any visitor.

        With visitor ids from another source it is not needed.
        """
        return self._device_cookie is not None and self._device(visit) is None

    async def consent(self, visit: Visit) -> bool:
        """Whether the visitor may be recognised and counted."""
        return await waiting(lambda: self.consent_now(visit), self._left)

    def consent_now(self, visit: Visit) -> bool:
        """The same in synchronous code.

        Raises:
            MustWaitError: A value needs waiting.
        """
        return self.consents is None or self.consents.given(visit)

    def _device(self, visit: Visit) -> str | None:
        """Return the id of the settings' source, else the reported device id."""
        found = self._visitor_id(visit, visit.path_params)
        if found is None and self._device_cookie is not None:
            return device_id(visit.cookie(self._device_cookie))
        return found

    def _minted(self, visit: Visit) -> str | None:
        cookie = self._our_cookie
        return None if cookie is None else minted_id(visit.cookie(cookie))

    def _anonymous_id(self, visit: Visit) -> tuple[str | None, bool]:
        """Return the id of a browser, and whether it is new."""
        visitor_id = self._device(visit)
        if visitor_id is not None or not self._mints:
            return visitor_id, False
        visitor_id = self._minted(visit)
        # A bot keeps no cookie: each of its pages would be a new visitor.
        if visitor_id is not None or self.is_bot(visit):
            return visitor_id, False
        return new_id(), True

    def _user_identifiers(self, visit: Visit) -> dict[str, str]:
        found = {
            name: read(visit, visit.path_params)
            for name, read in self._identifiers.items()
        }
        return {name: value for name, value in found.items() if value}

    def _named(
        self, visit: Visit, match: Match | None, *, of_the_page: bool
    ) -> dict[str, str]:
        """Return the in-session attributes that the settings and the routes name.

        Those ``of_the_page`` do not depend on the visitor.
        """
        named: dict[str, str] = {}
        if self._attributes.readers:
            self._attributes.read(named, visit, visit.path_params, of_the_page)
        if self._of_routes and match is not None:
            for route, route_params in match.routes:
                if attributes := self._of_routes.get(id(route)):
                    attributes.read(named, visit, route_params, of_the_page)
        return named

    def session_attributes(
        self, visit: Visit, named: Mapping[str, str]
    ) -> dict[str, str]:
        """Return all in-session attributes of a fetch; ``named`` ones win."""
        attributes = session_attributes(
            now=self._clock(),
            address=self._address(visit),
            user_agent=visit.header("user-agent"),
        )
        return {**attributes, **named}

    def is_bot(self, visit: Visit) -> bool:
        """Whether the request is a bot's."""
        header = visit.first_headers.get(b"user-agent")
        return header is not None and self._judge(header[:MAX_USER_AGENT])

    def is_https(self, visit: Visit) -> bool:
        """Whether the visitor's own connection is encrypted."""
        if visit.peer in self._trusted:
            # With several proxies, the first value is of the visitor's own connection.
            scheme = (visit.header("x-forwarded-proto") or "").partition(",")[0]
            return (scheme.strip() or visit.scheme) == "https"
        return visit.scheme == "https"

    def _variants(
        self,
        visit: Visit,
        ids: Mapping[str, str],
        named: Mapping[str, str],
        vary: Collection[str] | None,
        now: float,
    ) -> tuple[bytes, bytes]:
        """Return the variant of this hour's answers, and of the last hour's."""
        if not named and not vary and not ids:
            self._plain_variants = variants({}, now)
            self._plain_hour = now // 3600
            return self._plain_variants
        if vary is not None:
            values = self.session_attributes(visit, named)
            # The hour is part of the key in any case.
            of_key = values.keys() - (OF_THE_HOUR - named.keys())
            named = {name: values[name] for name in vary if name in of_key}
        ids = {f"user_identifiers.{name}": ids[name] for name in ids}
        return variants({**named, **ids}, now)

    def _address(self, visit: Visit) -> str | None:
        if visit.peer not in self._trusted:
            return client_address(visit.peer, (), (), self._trusted)
        return client_address(
            visit.peer,
            visit.headers("forwarded"),
            visit.headers("x-forwarded-for"),
            self._trusted,
        )


def _unknown_names(settings: Settings) -> Set[str]:
    """Return the names in ``vary`` that are no attribute, and log them."""
    for mistake in settings.unknown_names():
        place = ".".join(map(str, mistake.place))
        logger.warning("vary_unknown place=%s: %s", place, mistake.message)
    lists = [settings.cache.vary, *(route.vary for route in settings.routes)]
    names = {name for vary in lists for name in vary or ()}
    return names - settings.attribute_names
