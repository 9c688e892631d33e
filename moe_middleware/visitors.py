"""Recognises visitors: who they are, and what their answers depend on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Set
from dataclasses import dataclass, replace
from types import MappingProxyType

from .addresses import TrustedProxies, client_address
from .attributes import day_and_hour, session_attributes
from .cache import split_key, visitor_key
from .consents import Consents
from .crawlers import load_crawlers
from .identity import DEVICE_COOKIE, device_id, minted_id
from .log_names import LogNames
from .models import Identity
from .preview_links import PREVIEWS, PreviewLinks
from .routes import Match
from .sections import BotSettings, ConsentSettings
from .settings import Settings
from .sources import SourceReader, ValueSource
from .unseen import BotFilter
from .visits import Visit

logger = logging.getLogger(__name__)

UNTOLD = Visit()
"""What a fetch tells of the request of someone without consent: nothing."""


@dataclass(slots=True)
class Visitor:
    """Who asks, as the engine knows them.

    Attributes:
        identity: Their ids.
        is_new: Whether the visitor_id was minted just now, so no cookie has it yet.
        attributes: The in-session attributes that the file names.
        key: The cache's name for them.
        split: The cache's name for those attributes that make another answer.
        consents: Whether they may be recognised and counted; without it they have no
            ids, and attributes of the page alone.
    """

    identity: Identity
    is_new: bool
    attributes: Mapping[str, str]
    key: bytes
    split: bytes
    consents: bool = True


class Visitors:
    """Recognises a visitor by what a request tells.

    Args:
        settings: The whole configuration.
        clock: The time, in unix seconds.
        new_id: Mints the ids of anonymous visitors.

    Attributes:
        log_names: What log lines call them.
        consents: Tells who consents; None where everyone does.
        previews: Reads the previews that browsers have open; None without a secret.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        self._identity = settings.identity
        self._attributes = settings.attributes
        self._vary: Collection[str] | None = settings.cache.vary
        self._vary_in_vain = _unknown_names(settings)
        self._clock = clock
        self._new_id = new_id
        self._bots = _bot_filter(settings.bots)
        self._trusted = TrustedProxies(settings.trusted_proxies)
        self.log_names = LogNames(settings.log_ids)
        self._reader = SourceReader()
        self.consents = _consents(settings.consent, self._reader)
        self.previews = _previews(settings, clock)
        self._plain_split = (-1.0, b"")

    async def recognise(self, visit: Visit, match: Match | None) -> Visitor:
        """Return who the request is from.

        Args:
            visit: The request.
            match: Its routes, for their path parameters and attributes.
        """
        if match is not None:
            visit.path_params = MappingProxyType(match.path_params)
        vary = self._vary
        if match is not None and match.vary is not None:
            vary = match.vary
        if self._vary_in_vain and vary and not self._vary_in_vain.isdisjoint(vary):
            # Better too many answers than one visitor's or page's for another.
            vary = None
        if self.consents is not None and not await self.consents.given(visit):
            return await self._nobody(visit, match, vary)
        identity, is_new = await self._identify(visit)
        attributes: dict[str, str] = {}
        if self._attributes:
            attributes = await self._reader.texts(
                self._attributes, visit, visit.path_params
            )
        for route, route_params in match.routes if match else ():
            if route.attributes:
                attributes |= await self._reader.texts(
                    route.attributes, visit, route_params
                )
        return Visitor(
            identity=identity,
            is_new=is_new,
            attributes=attributes,
            key=visitor_key(identity),
            split=self._split(visit, identity, attributes, vary),
        )

    async def identify(self, visit: Visit) -> tuple[Identity, bool]:
        """Return the ids of a request, and whether one was minted for it.

        Someone without consent has none.
        """
        if not await self.consent(visit):
            return Identity(), False
        return await self._identify(visit)

    async def log_name(self, visit: Visit) -> str:
        """Return what a log line about a request ends with; nothing, mostly."""
        if not self.log_names.wanted:
            return ""
        try:
            identity, is_new = await self.identify(visit)
        except Exception:
            return ""
        return "" if is_new else self.log_names.of(identity)

    async def known_as(self, visit: Visit) -> list[Identity]:
        """Return everyone whom a request's pages may have been made for.

        A visitor who logs in, or whose device id comes up, is somebody else from then
        on; what an earlier page had counts for whom that page was made for. Who they
        are now comes first. Someone without consent is nobody.
        """
        if not await self.consent(visit):
            return []
        identity, is_new = await self._identify(visit)
        known = [] if is_new else [identity]
        for visitor_id in (await self._device(visit), self._minted(visit)):
            if visitor_id is not None:
                known.append(Identity(visitor_id=visitor_id))
        return [one for one in known if one.reporting_id is not None]

    async def wants_device_id(self, visit: Visit) -> bool:
        """Whether the cookie that tells a device id is missing, whoever the visitor is.

        Whoever takes visitor ids from elsewhere wants no other.
        """
        source = self._identity.visitor_id
        return source.kind == "cookie" and await self._device(visit) is None

    async def consent(self, visit: Visit) -> bool:
        """Whether the visitor may be recognised and counted."""
        return self.consents is None or await self.consents.given(visit)

    async def _device(self, visit: Visit) -> str | None:
        """Return what the settings' source tells, else the id that was handed over."""
        source = self._identity.visitor_id
        told = await self._reader.id(source, visit, visit.path_params)
        if told is None and source.kind == "cookie":
            return device_id(visit.cookie(DEVICE_COOKIE))
        return told

    def _minted(self, visit: Visit) -> str | None:
        if self._identity.anonymous == "off":
            return None
        return minted_id(visit.cookie(self._identity.anonymous_cookie))

    async def _nobody(
        self, visit: Visit, match: Match | None, vary: Collection[str] | None
    ) -> Visitor:
        """Return someone of whom nothing is known but the page that they ask for."""
        attributes = await self._reader.texts(
            _of_the_page(self._attributes), visit, visit.path_params
        )
        for route, route_params in match.routes if match else ():
            of_the_page = _of_the_page(route.attributes)
            attributes |= await self._reader.texts(of_the_page, visit, route_params)
        nobody = Identity()
        return Visitor(
            identity=nobody,
            is_new=False,
            attributes=attributes,
            key=visitor_key(nobody),
            split=self._split(UNTOLD, nobody, attributes, vary),
            consents=False,
        )

    async def _identify(self, visit: Visit) -> tuple[Identity, bool]:
        wanted, params = self._identity, visit.path_params
        visitor_id, is_new = None, False
        customer_id = await self._reader.id(wanted.customer_id, visit, params)
        if customer_id is None:
            visitor_id = await self._device(visit)
            if visitor_id is None and wanted.anonymous == "on":
                visitor_id = self._minted(visit)
                if visitor_id is None and not self.is_bot(visit):
                    visitor_id, is_new = self._new_id(), True
        identifiers: Mapping[str, str] = {}
        if wanted.user_identifiers:
            identifiers = await self._reader.ids(wanted.user_identifiers, visit, params)
        identity = Identity(
            customer_id=customer_id, visitor_id=visitor_id, user_identifiers=identifiers
        )
        return identity, is_new

    def session_attributes(
        self, visit: Visit, named: Mapping[str, str]
    ) -> dict[str, str]:
        """Return all in-session attributes of a fetch.

        Args:
            visit: The request.
            named: Those that the file names; they win.
        """
        unasked = session_attributes(
            now=self._clock(),
            address=self._address(visit),
            user_agent=visit.header("user-agent"),
        )
        return {**unasked, **named}

    def is_bot(self, visit: Visit) -> bool:
        """Whether a program asks and not a person."""
        return self._bots.is_bot(visit.header("user-agent"))

    def is_https(self, visit: Visit) -> bool:
        """Whether the visitor's own connection is encrypted."""
        if visit.peer in self._trusted:
            # Of several proxies' words, the first is about the visitor's own hop.
            told = (visit.header("x-forwarded-proto") or "").partition(",")[0]
            return (told.strip() or visit.scheme) == "https"
        return visit.scheme == "https"

    def _split(
        self,
        visit: Visit,
        identity: Identity,
        named: Mapping[str, str],
        vary: Collection[str] | None,
    ) -> bytes:
        now = self._clock()
        if not named and not vary and not identity.user_identifiers:
            if self._plain_split[0] != now // 3600:
                self._plain_split = now // 3600, split_key(day_and_hour(now))
            return self._plain_split[1]
        if vary is not None:
            told = self.session_attributes(visit, named)
            named = {name: told[name] for name in vary if name in told}
        ids = identity.user_identifiers
        return split_key(
            {
                **day_and_hour(now),
                **named,
                **{f"user_identifiers.{name}": ids[name] for name in ids},
            }
        )

    def _address(self, visit: Visit) -> str | None:
        if visit.peer not in self._trusted:
            return client_address(visit.peer, (), (), self._trusted)
        return client_address(
            visit.peer,
            visit.headers("forwarded"),
            visit.headers("x-forwarded-for"),
            self._trusted,
        )


def without_id(visitor: Visitor) -> Visitor:
    """Return a new visitor without the id that no cookie can keep any more."""
    identity = replace(visitor.identity, visitor_id=None)
    return replace(visitor, identity=identity, is_new=False, key=visitor_key(identity))


def _bot_filter(wanted: BotSettings) -> BotFilter:
    """Return what tells bots.

    Raises:
        SettingsError: The package for ``bots.library`` is missing.
    """
    library = load_crawlers() if wanted.library == "on" else None
    return BotFilter(wanted.also, wanted.never, library)


def _unknown_names(settings: Settings) -> Set[str]:
    """Return what no attribute is called, and say so."""
    for mistake in settings.unknown_names():
        place = ".".join(map(str, mistake.place))
        logger.warning("vary_unknown place=%s: %s", place, mistake.message)
    lists = [settings.cache.vary, *(route.vary for route in settings.routes)]
    names = {name for vary in lists for name in vary or ()}
    return names - settings.attribute_names


def _consents(wanted: ConsentSettings | None, reader: SourceReader) -> Consents | None:
    return Consents(wanted, reader) if wanted is not None else None


def _previews(settings: Settings, clock: Callable[[], float]) -> PreviewLinks | None:
    if settings.secret_key is None:
        return None
    secrets = [key.get_secret_value() for key in settings.secret_key]
    path = f"{settings.clicks.path}/{PREVIEWS}/"
    return PreviewLinks(secrets, path=path, clock=clock)


def _of_the_page(sources: Mapping[str, ValueSource]) -> dict[str, ValueSource]:
    return {name: source for name, source in sources.items() if source.is_of_the_page}
