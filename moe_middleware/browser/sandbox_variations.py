"""The variations that the embedded sandbox has, for the overlay's switch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# The sandbox is imported where it is used: live sites do not load it.


def variation_names(key: str) -> list[str]:
    """Return the names of an experience's variations, as in ``Gold members/2``."""
    from ..sandbox.decisions.variations import variations_of
    from ..sandbox.in_process import embedded

    return [*variations_of(embedded().workspace, key)]


def variation_payload(
    key: str, name: str, customer_id: str | None
) -> Mapping[str, Any] | None:
    """Return a variation's payload for a customer; None if there is no such variation.

    Raises:
        ValueError: Its templates withhold it from this customer.
    """
    from ..sandbox.decisions.variations import attributes_of, values_of, variations_of
    from ..sandbox.in_process import embedded
    from ..sandbox.workspace.template_worker import Withheld

    workspace = embedded().workspace
    variation = variations_of(workspace, key).get(name)
    if variation is None:
        return None
    try:
        return values_of(variation, attributes_of(workspace, customer_id))
    except Withheld:
        raise ValueError("its templates withhold it from this visitor") from None
