"""Impressions and clicks, the events that are reported to MoEngage. Pure values."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Self, TypedDict, get_args

from .experience import Experience
from .ids import new_id
from .plain_values import text_of

Platform = Literal["web", "android", "ios", "tv"]
"""The kinds of devices that events name."""


class Action(StrEnum):
    """The kinds of events."""

    IMPRESSION = "impression"
    CLICK = "click"


class EventDetails(TypedDict, total=False):
    """Further values of an event that an app counts itself.

    Attributes:
        user_attributes: Attributes to update in the customer's profile. Dates, decimals
            and the like become text and numbers; a value that JSON cannot express
            refuses the event, with a log line.
        user_timezone_offset: The visitor's offset from UTC, in seconds; None takes the
            settings' ``events.user_timezone_offset``.
        platform: Where it happened; None takes the settings' ``events.platform``.
        uuid: A uuid of version 4 that the caller made when it happened: reported twice,
            it counts once. None makes one. Another text refuses the event, with a log
            line.
    """

    user_attributes: Mapping[str, Any] | None
    user_timezone_offset: int | None
    platform: Platform | None
    uuid: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An impression or a click, kept until MoEngage has accepted it.

    Attributes:
        uuid: Made once, with the event; MoEngage deduplicates by it.
        customer_id: The id of the fetch: the customer's, else the visitor's.
        action: An impression or a click.
        occurred_at: The time of the event, in whole unix seconds.
        experience_context: The context of the variation, unchanged.
        platform: ``web``, ``android``, ``ios`` or ``tv``.
        b_id: The clicked element, for a click.
        user_attributes: Attributes to update in the customer's profile.
        user_timezone_offset: The visitor's offset from UTC, in seconds.
        trace: The trace of its request, as a W3C ``traceparent``; never reported.
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
    trace: str | None = None

    def __hash__(self) -> int:
        # Two events with one uuid are the same one.
        return hash(self.uuid)

    @classmethod
    def impression(
        cls, experience: Experience, customer_id: str, **fields: Any
    ) -> Self:
        """Return an impression of this experience, now, with a new uuid.

        Args:
            experience: An experience that matched.
            customer_id: The id that the experience was fetched with.
            fields: Values for other fields of the event.

        Raises:
            TypeError: ``experience`` is no experience, or ``customer_id`` no text.
            ValueError: The experience did not match.
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
        """Return a click on an element of this experience, now, with a new uuid.

        Raises:
            TypeError, ValueError: As for ``impression``.
        """
        fields["b_id"] = b_id
        return cls._of(Action.CLICK, experience, customer_id, fields)

    @classmethod
    def _of(
        cls,
        action: Action,
        experience: Experience,
        customer_id: str,
        fields: dict[str, Any],
    ) -> Self:
        if not isinstance(experience, Experience):
            raise TypeError(
                f"experience is of type {type(experience).__name__}: give one that was "
                "fetched, as in experiences['homepage-banner']"
            )
        if not experience.experience_context:
            raise ValueError(
                f"experience {experience.key!r} has no experience_context: only one "
                "that matched can be reported"
            )
        reporting_id = text_of(customer_id)
        if not reporting_id:
            kind = f"of type {type(customer_id).__name__}"
            given = "empty" if customer_id == "" else kind
            raise TypeError(
                f"customer_id is {given}: give the id of the fetch as text, as in "
                "experiences.identity.reporting_id"
            )
        return cls(
            uuid=fields.pop("uuid", None) or new_id(),
            occurred_at=fields.pop("occurred_at", None) or int(time.time()),
            action=action,
            customer_id=reporting_id,
            experience_context=experience.experience_context,
            **fields,
        )


def platform_of(given: object) -> str | None:
    """Return a caller's platform, of any case as for the API; None for None.

    Raises:
        ValueError: There is no such platform.
    """
    if given is None:
        return None
    platform = (text_of(given) or "").lower()
    if platform not in _PLATFORMS:
        raise ValueError(f"{type(given).__name__} is no platform")
    return platform


def uuid_of(given: object) -> str | None:
    """Return a caller's uuid in the form that events have; None for None.

    Raises:
        ValueError: It is no uuid of version 4.
    """
    if given is None:
        return None
    uuid = (text_of(given) or "").lower()
    if _UUID_4.fullmatch(uuid) is None:
        raise ValueError(f"{type(given).__name__} is no uuid of version 4")
    return uuid


_PLATFORMS = get_args(Platform)
_UUID_4 = re.compile(
    r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}(?<=-4.{3}-[89ab].{16})"
)
