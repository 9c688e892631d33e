"""Events as they are stored: JSON, one object each."""

from __future__ import annotations

from typing import Any

import orjson

from ..models.events import Action, Event


def encode(event: Event) -> bytes:
    """Return an event as it is stored.

    Raises:
        TypeError: It holds what JSON cannot.
    """
    return orjson.dumps(event)


def decode(body: bytes | str) -> Event | None:
    """Read a stored event; None where the body is no event."""
    try:
        return from_fields(orjson.loads(body))
    except ValueError:
        return None


def from_fields(fields: Any) -> Event | None:
    """Make an event of a stored body's fields; None where they are not an event's."""
    try:
        fields["action"] = Action(fields["action"])
        event = Event(**fields)
    except (ValueError, TypeError, KeyError):
        return None
    readable = (
        isinstance(event.uuid, str)
        and isinstance(event.customer_id, str)
        and isinstance(event.occurred_at, int)
        and isinstance(event.experience_context, dict)
        and isinstance(event.user_attributes, dict)
    )
    return event if readable else None
