"""Events as they are stored: JSON, one object each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from ..models.events import Action, Event
from ..models.experience import Experience, kept_context


def encode(event: Event) -> bytes:
    """Return an event as it is stored.

    Raises:
        TypeError: It holds what JSON cannot.
    """
    return orjson.dumps(event)


class ImpressionEncoder:
    """Writes impressions as ``encode`` does, without a look into their contexts.

    Args:
        platform: As in the settings, ``events.platform``.
        user_timezone_offset: Likewise.
    """

    def __init__(self, platform: str, user_timezone_offset: int | None) -> None:
        rest: dict[str, object] = {
            "platform": platform,
            "b_id": None,
            "user_attributes": {},
            "user_timezone_offset": user_timezone_offset,
        }
        self._rest = b"," + orjson.dumps(rest)[1:]

    def encode(
        self,
        shown: Sequence[Experience],
        customer_id: str,
        occurred_at: int,
        new_id: Callable[[], str],
    ) -> list[bytes]:
        """Return the impressions of one page.

        Args:
            shown: What was shown; contexts go out as they came.
            customer_id: Whom they count for.
            occurred_at: In whole unix seconds.
            new_id: Mints the uuid of each.

        Raises:
            TypeError: A context is the app's own, and holds what JSON cannot.
        """
        head = b'","customer_id":%b,"action":"impression","occurred_at":%d,' % (
            orjson.dumps(customer_id),
            occurred_at,
        )
        bodies = []
        for one in shown:
            try:
                context = kept_context(one)
            except AttributeError:
                context = orjson.dumps(one.experience_context)
            bodies.append(
                b'{"uuid":"%b%b"experience_context":%b%b'
                % (new_id().encode(), head, context, self._rest)
            )
        return bodies


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
