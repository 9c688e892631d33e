"""Small makers of values that many tests need."""

from __future__ import annotations

import itertools
from typing import Any

from moe_middleware import Action, Event, Experience

CONTEXT = {
    "cid": "66d55ae445921e4d35ae4368_F_T_WP_AB_2_P_0_AU_5A",
    "experience": "Homepage banner",
    "moe_locale_id": "0",
    "moe_variation_id": "2",
    "audience_name": "All Users",
    "audience_id": "5A",
    "type": "Web Personalization",
    "experience_type": "API based Experience",
}

_numbers = itertools.count(1)


def event(customer_id: str = "u1", **fields: Any) -> Event:
    number = next(_numbers)
    defaults: dict[str, Any] = {
        "uuid": f"00000000-0000-4000-8000-{number:012}",
        "action": Action.IMPRESSION,
        "occurred_at": 1_725_258_666,
        "experience_context": CONTEXT,
    }
    return Event(customer_id=customer_id, **(defaults | fields))


def experience(key: str = "hero", /, **payload: Any) -> Experience:
    return Experience(
        key=key, payload=payload or {"Title": "Sale"}, experience_context=CONTEXT
    )
