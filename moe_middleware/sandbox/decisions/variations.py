"""The variations of an experience by their names, and their payloads, for previews."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..workspace.workspace import Variation, Workspace
from .payloads import payload_for


def variations_of(workspace: Workspace, key: str) -> dict[str, Variation]:
    """Return an experience's variations by name, as in ``Gold members/2``."""
    return {
        f"{audience.name}/{one.variation_id}": one
        for experience in workspace.experiences
        if experience.key == key
        for audience in experience.audiences
        for one in audience.variations
    }


def attributes_of(
    workspace: Workspace, customer_id: str | None
) -> Mapping[str, Any] | None:
    """Return the attributes of a customer; None for others."""
    known = {one.customer_id: one.attributes for one in workspace.customers}
    return known.get(customer_id) if customer_id is not None else None


def values_of(
    variation: Variation, attributes: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return a variation's payload values, with its templates rendered.

    Raises:
        Withheld: A template withholds the whole experience.
    """
    payload = payload_for(variation, attributes, None)
    return {name: value.value for name, value in payload.items()}
