"""The nouns: who visits, what they get, what happened. Pure values, no I/O."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Self

from .ids import new_id

EMPTY: Mapping[str, Any] = MappingProxyType({})


class Source(StrEnum):
    """Where an answer came from."""

    API = "api"
    CACHE = "cache"
    STALE = "stale"
    FALLBACK = "fallback"


class Reason(StrEnum):
    """Why an experience is empty, or only a stale answer."""

    NO_MATCH = "no_match"
    NOT_REQUESTED = "not_requested"
    NO_REQUEST = "no_request"
    REVALIDATING = "revalidating"
    BREAKER_OPEN = "breaker_open"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    BAD_ANSWER = "bad_answer"
    SERVER_ERROR = "server_error"
    RATE_LIMITED = "rate_limited"
    UNAUTHORIZED = "unauthorized"
    INVALID_REQUEST = "invalid_request"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who the visitor is.

    Attributes:
        customer_id: The brand's own id of a known customer.
        visitor_id: The id of an anonymous browser.
        user_identifiers: Fallback identifiers, as in ``{"u_em": "a@b.example"}``;
            they need Identity Resolution switched on in the workspace.
    """

    customer_id: str | None = None
    visitor_id: str | None = None
    user_identifiers: Mapping[str, str] = field(default_factory=dict)

    @property
    def reporting_id(self) -> str | None:
        """The id that events carry: the customer's, else the visitor's."""
        return self.customer_id or self.visitor_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """One experience as this visitor gets it; falsy where there is none.

    Payload values are reached as items and as attributes: ``hero["CTA Label"]``,
    ``hero.Title``. An item is always a payload value; an attribute gives way to the
    fields below.

    Attributes:
        key: The experience key.
        payload: The variation's values, already unwrapped; empty without a match.
        experience_context: What MoEngage wants back with every event, untouched.
        source: Where the answer came from.
        reason: Why it is empty, or stale; None for a fresh match.
    """

    key: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    experience_context: Mapping[str, Any] = field(default_factory=dict)
    source: Source = Source.FALLBACK
    reason: Reason | None = None

    def __bool__(self) -> bool:
        return bool(self.payload or self.experience_context)

    def __getitem__(self, name: str) -> Any:
        return self.payload[name]

    def __contains__(self, name: object) -> bool:
        return name in self.payload

    def __getattr__(self, name: str) -> Any:
        # Unpickling asks for dunders before the fields exist.
        if not name.startswith("__") and name in self.payload:
            return self.payload[name]
        raise AttributeError(f"experience {self.key!r} has no payload value {name!r}")

    def get(self, name: str, default: Any = None) -> Any:
        """Return a payload value, or ``default`` where there is none."""
        return self.payload.get(name, default)

    def click_url(self, target: str, b_id: str | None = None) -> str:
        """Return the link for an element of this experience.

        Clicks are not recorded yet: the link is the target itself, so that templates
        written today need no change when they are.

        Args:
            target: Where the link leads.
            b_id: Which element it is, as in ``"Shop Now"``.
        """
        return target


NOBODY = Identity(user_identifiers=EMPTY)

FetchOne = Callable[[str], Awaitable[Experience]]


class Experiences:
    """What a visitor gets, by experience key. Looking a key up never raises.

    It notes its own use: ``used`` once anything was read, ``shown`` for what counts
    as an impression when the response has been sent.
    """

    __slots__ = ("_fetch", "_found", "_missing", "_shown", "_used", "identity")

    def __init__(
        self,
        found: Iterable[Experience] = (),
        *,
        identity: Identity | None = None,
        fetch: FetchOne | None = None,
        missing: Reason = Reason.NOT_REQUESTED,
    ) -> None:
        self.identity = identity or NOBODY
        self._found: dict[str, Experience] = {}
        self._shown: dict[str, Experience] = {}
        self._fetch = fetch
        self._missing = missing
        self._used = False
        if found:
            self.add(found)

    def __getitem__(self, key: str) -> Experience:
        self._used = True
        found = self._found.get(key)
        return found if found is not None else Experience(key=key, reason=self._missing)

    def __contains__(self, key: object) -> bool:
        """Whether the visitor has a match for this key."""
        return isinstance(key, str) and bool(self[key])

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys that were asked for."""
        self._used = True
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        answers = ", ".join(
            f"{key}={found.reason or found.source}"
            for key, found in self._found.items()
        )
        return f"<Experiences {answers or 'none'}>"

    def add(self, found: Iterable[Experience]) -> None:
        """Take in more answers."""
        for experience in found:
            self._found[experience.key] = experience

    async def fetch(self, key: str) -> Experience:
        """Return a key's experience, asking for it where no route named it.

        Never raises for a failing API: the answer is then a fallback with its reason.
        """
        if key not in self._found and self._fetch is not None:
            self._found[key] = await self._fetch(key)
        return self[key]

    def end(self) -> None:
        """Fetch nothing more: the request is over, and whoever asked lets go of it."""
        self._fetch = None

    def show(self, key: str) -> Experience:
        """Return a key's experience and count it as shown, once per response.

        The impression is recorded only after a good response's last byte was sent.
        The template tag does this by itself.
        """
        experience = self[key]
        if experience.experience_context:
            self._shown.setdefault(key, experience)
        return experience

    @property
    def used(self) -> bool:
        """Whether anything was read: the response is then this visitor's own."""
        return self._used

    @property
    def shown(self) -> tuple[Experience, ...]:
        """The experiences that count as shown, in the order of their first showing."""
        return tuple(self._shown.values())


class Action(StrEnum):
    """What can happen to an experience."""

    IMPRESSION = "impression"
    CLICK = "click"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened, as it is kept until MoEngage has it.

    Attributes:
        uuid: Minted once, when it happened; MoEngage deduplicates by it.
        customer_id: The id of the fetch: the customer's, else the visitor's.
        action: An impression or a click.
        occurred_at: When, in whole unix seconds.
        experience_context: The context that came with the variation, whole.
        platform: ``web``, ``android``, ``ios`` or ``tv``.
        b_id: For a click, which element.
        user_attributes: Profile attributes to update along the way.
        user_timezone_offset: The visitor's offset from UTC, in seconds.
    """

    uuid: str
    customer_id: str
    action: Action
    occurred_at: int
    experience_context: Mapping[str, Any]
    platform: str = "web"
    b_id: str | None = None
    user_attributes: Mapping[str, Any] = field(default_factory=dict)
    user_timezone_offset: int | None = None

    @classmethod
    def impression(
        cls, experience: Experience, customer_id: str, **fields: Any
    ) -> Self:
        """Return the event that this experience was shown, now, with a uuid of its own.

        Args:
            experience: A match; one that did not match has nothing to report.
            customer_id: The id that the experience was fetched with.
            fields: Other fields of the event, to set instead of their defaults.
        """
        return cls._of(Action.IMPRESSION, experience, customer_id, fields)

    @classmethod
    def click(
        cls,
        experience: Experience,
        customer_id: str,
        *,
        b_id: str | None = None,
        **fields: Any,
    ) -> Self:
        """Return the event that an element of this experience was clicked, now."""
        return cls._of(Action.CLICK, experience, customer_id, {"b_id": b_id, **fields})

    @classmethod
    def _of(
        cls,
        action: Action,
        experience: Experience,
        customer_id: str,
        fields: Mapping[str, Any],
    ) -> Self:
        if not experience.experience_context:
            raise ValueError(
                f"experience {experience.key!r} has no experience_context: only one "
                "that matched can be reported"
            )
        given = dict(fields)
        return cls(
            uuid=given.pop("uuid", None) or new_id(),
            occurred_at=given.pop("occurred_at", None) or int(time.time()),
            action=action,
            customer_id=customer_id,
            experience_context=experience.experience_context,
            **given,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperienceMetadata:
    """One line of the workspace's list of experiences.

    Attributes:
        key: The experience key.
        name: Its name in the dashboard.
        status: ``Active``, ``Paused`` or ``Scheduled``.
    """

    key: str
    name: str
    status: str
