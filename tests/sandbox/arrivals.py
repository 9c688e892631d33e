"""Events as the store takes them, without the way over the wire."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from moe_middleware.sandbox import Audience, Variation
from moe_middleware.sandbox.protocol.events import ACTIONS, Action, Element
from moe_middleware.sandbox.workspace.rules import AttributeMeets, Operator

HERO = "66d55ae445921e4d35ae4368"
STRIP = "66d55ae445921e4d35ae4369"
NOON = 1_790_000_000


def element(
    *actions: Action,
    customer: str = "erin",
    offset: int | None = None,
    **user_attributes: Any,
) -> Element:
    """One user's part of a call; ``user_attributes`` are the user's attributes."""
    return Element(
        customer_id=customer,
        user_attributes=user_attributes,
        user_timezone_offset=offset,
        actions=actions,
    )


def shown(uuid: str, **fields: Any) -> Action:
    """An impression."""
    return action(uuid, clicked=False, **fields)


def clicked(uuid: str, **fields: Any) -> Action:
    """A click."""
    return action(uuid, clicked=True, **fields)


def action(
    uuid: str,
    *,
    clicked: bool,
    token: str = HERO,
    audience: str = "5A",
    variation: str = "1",
    b_id: str | None = None,
    at: int = NOON,
    **attributes: Any,
) -> Action:
    """An impression or a click; other attributes join the context."""
    return Action(
        action=ACTIONS[clicked],
        uuid=uuid,
        event_time=at,
        platform="web",
        attributes={
            "cid": f"{token}_F_T_WP_AB_{variation}_P_0_AU_{audience}",
            "experience": "Hero",
            "moe_locale_id": "0",
            "moe_variation_id": variation,
            "audience_name": f"Audience {audience}",
            "audience_id": audience,
        }
        | attributes,
        b_id=b_id,
    )


def has(name: str, *values: Any) -> AttributeMeets:
    """The customer's attribute has one of these values."""
    return AttributeMeets(name, Operator.IS, values)


def audience(audience_id: str, *percents: float) -> Audience:
    """An audience with variations of these shares."""
    return Audience(
        audience_id=audience_id,
        name=f"Audience {audience_id}",
        variations=tuple(
            Variation(variation_id=str(number), payload={}, percent=percent)
            for number, percent in enumerate(percents, start=1)
        ),
    )


def people(count: int, *, clicks: int = 0, variation: str = "1") -> Iterable[Element]:
    """So many customers who saw a variation, and the first of them who clicked it."""
    for number in range(count):
        uuid = f"{variation}-{number}"
        actions = [shown(uuid, variation=variation)]
        if number < clicks:
            actions.append(clicked(f"{uuid}-click", variation=variation))
        yield element(*actions, customer=uuid)
