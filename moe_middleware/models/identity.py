"""A visitor's ids, as they are sent to MoEngage. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The ids of a visitor.

    Attributes:
        customer_id: The brand's own id of a known customer.
        visitor_id: The id of an anonymous browser.
        user_identifiers: Fallback identifiers, as in ``{"u_em": "a@b.example"}``;
            they need Identity Resolution switched on in the workspace.
    """

    customer_id: str | None = None
    visitor_id: str | None = None
    user_identifiers: Mapping[str, str] = field(default_factory=dict)

    def __hash__(self) -> int:
        identifiers = frozenset(self.user_identifiers.items())
        return hash((self.customer_id, self.visitor_id, identifiers))

    @property
    def reporting_id(self) -> str | None:
        """The id for events: the customer's, else the visitor's."""
        return self.customer_id or self.visitor_id
