"""The stored form of events: one JSON object each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from ..models.events import Action, Event
from ..models.experience import Experience, kept_context


def encode(event: Event) -> bytes:
    """Return the stored form of an event.

    Raises:
        TypeError: A value of it is no JSON.
    """
    body = orjson.dumps(event)
    return body if event.trace is not None else body.removesuffix(_NO_TRACE) + b"}"


_NO_TRACE = b',"trace":null}'


class ImpressionEncoder:
    """Encodes impressions as ``encode`` does, but copies their contexts as they are.

    Args:
        platform: The setting ``events.platform``.
        user_timezone_offset: The setting ``events.user_timezone_offset``, in minutes.
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
        shown: Iterable[Experience],
        customer_id: str,
        occurred_at: int,
        uuids: Iterable[str],
        trace: str | None = None,
    ) -> list[bytes]:
        """Return the impressions of one page.

        Args:
            shown: The shown experiences.
            customer_id: The customer or visitor for whom they count.
            occurred_at: In whole unix seconds.
            uuids: The uuid of each.
            trace: The trace of the page's request.

        Raises:
            TypeError: A context was made by the app and is no JSON.
        """
        head = b'","customer_id":%b,"action":"impression","occurred_at":%d,' % (
            orjson.dumps(customer_id),
            occurred_at,
        )
        rest, bodies = self._rest, []
        if trace is not None:
            rest = b'%b,"trace":%b}' % (rest[:-1], orjson.dumps(trace))
        for one, uuid in zip(shown, uuids, strict=True):
            try:
                context = kept_context(one)
            except AttributeError:
                context = orjson.dumps(one.experience_context)
            bodies.append(
                b'{"uuid":"%b%b"experience_context":%b%b'
                % (uuid.encode(), head, context, rest)
            )
        return bodies


def decode(body: bytes | str) -> Event | None:
    """Return the event of a stored body; None if it is none."""
    try:
        return from_fields(orjson.loads(body))
    except ValueError:
        return None


def from_fields(fields: Any) -> Event | None:
    """Return the event of a stored body's fields; None if they are invalid."""
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
        and isinstance(event.trace, str | None)
    )
    return event if readable else None
