"""One visitor, as the engine knows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..cache import key_of_ids
from ..models.identity import Identity
from ..models.visits import Visit

NO_VISIT = Visit()
"""The request in the fetch of a visitor without consent: an empty one."""


@dataclass(slots=True)
class Visitor:
    """A visitor, as the engine knows them.

    Attributes:
        customer_id: The brand's own id of a known customer.
        visitor_id: The id of an anonymous browser.
        user_identifiers: Their fallback identifiers.
        is_new: Whether the visitor_id was just made, so that no cookie has it yet.
        attributes: The in-session attributes that the file names.
        key: See ``cache.visitor_key``.
        variant: See ``cache.variant_key``.
        last_variant: The variant of the last hour.
        consents: Whether they may be recognised and counted; without it they have no
            ids, and attributes of the page alone.
        reporting_id: The id for events: the customer's, else the visitor's.
    """

    customer_id: str | None
    visitor_id: str | None
    user_identifiers: Mapping[str, str]
    is_new: bool
    attributes: Mapping[str, str]
    key: bytes
    variant: bytes
    last_variant: bytes
    consents: bool = True
    reporting_id: str | None = None

    @property
    def identity(self) -> Identity:
        """The ids, each time as a new value."""
        return Identity(
            customer_id=self.customer_id,
            visitor_id=self.visitor_id,
            user_identifiers={**self.user_identifiers},
        )


def without_id(visitor: Visitor) -> Visitor:
    """Return a new visitor without an id, which no cookie can keep any more."""
    key = key_of_ids(visitor.customer_id, None, visitor.user_identifiers)
    return replace(
        visitor,
        visitor_id=None,
        is_new=False,
        key=key,
        reporting_id=visitor.customer_id,
    )
