"""What happened to an experience: an impression or a click. Pure values."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from .experience import Experience
from .ids import new_id


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

    def __hash__(self) -> int:
        return hash(self.uuid)

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
        if not experience.experience_context:
            raise ValueError(
                f"experience {experience.key!r} has no experience_context: only one "
                "that matched can be reported"
            )
        return cls(
            uuid=fields.pop("uuid", None) or new_id(),
            occurred_at=fields.pop("occurred_at", None) or int(time.time()),
            action=action,
            customer_id=customer_id,
            experience_context=experience.experience_context,
            **fields,
        )
