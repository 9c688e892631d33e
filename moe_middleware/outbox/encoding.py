"""The stored form of events: one JSON object each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from json.encoder import encode_basestring_ascii
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
    short = body.removesuffix(_DEFAULT_REST)
    return body if short is body else short + b"}"


# A decoded event has the defaults of fields that are left out: a fifth of its bytes.
_DEFAULT_REST = (
    b',"platform":"web","b_id":null,"user_attributes":{},"user_timezone_offset":null,'
    b'"trace":null}'
)


class ImpressionEncoder:
    """Encodes impressions for ``decode``, and copies their contexts as they are.

    Args:
        platform: The setting ``events.platform``.
        user_timezone_offset: The setting ``events.user_timezone_offset``, in minutes.
    """

    def __init__(self, platform: str, user_timezone_offset: int | None) -> None:
        # A decoded event has the defaults of what is left out: a fifth of its bytes.
        rest: dict[str, object] = {}
        if platform != _DEFAULTS["platform"]:
            rest["platform"] = platform
        if user_timezone_offset is not None:
            rest["user_timezone_offset"] = user_timezone_offset
        self._rest = b"," + orjson.dumps(rest)[1:] if rest else b"}"

    def encode(
        self,
        shown: Iterable[Experience],
        customer_id: str,
        occurred_at: int,
        uuids: Iterable[bytes],
        trace: str | None = None,
    ) -> list[bytes]:
        """Return the impressions of one page.

        Args:
            shown: The shown experiences.
            customer_id: The customer or visitor for whom they count.
            occurred_at: In whole unix seconds.
            uuids: The uuid of each, as ASCII.
            trace: The trace of the page's request.

        Raises:
            TypeError: A context was made by the app and is no JSON.
        """
        head = (
            f'","customer_id":{encode_basestring_ascii(customer_id)}'
            f',"action":"impression","occurred_at":{occurred_at},"experience_context":'
        ).encode()
        rest, bodies = self._rest, []
        if trace is not None:
            rest = b'%b,"trace":%b}' % (rest[:-1], orjson.dumps(trace))
        for one, uuid in zip(shown, uuids, strict=True):
            try:
                context = kept_context(one)
            except AttributeError:
                context = orjson.dumps(one.experience_context)
            bodies.append(b"".join((b'{"uuid":"', uuid, head, context, rest)))
        return bodies


def decode(body: bytes | str) -> Event | None:
    """Return the event of a stored body; None if it is none."""
    try:
        return from_fields(orjson.loads(body))
    except ValueError:
        return None


def from_fields(fields: Any) -> Event | None:
    """Return the event of a stored body's fields; None if they are invalid."""
    event = Event.__new__(Event)
    try:
        # A relay reads tens of thousands of events a second: the setters bypass the
        # frozen class, whose own way takes three times as long.
        for name, kinds, default, set_field in _FIELDS:
            value = fields.pop(name, default)
            if type(value) not in kinds:
                return None
            set_field(event, value)
        _set_attributes(event, fields.pop("user_attributes", None) or _NO_ATTRIBUTES)
        _set_action(event, _ACTIONS[fields.pop("action")])
    except (AttributeError, TypeError, KeyError):
        return None
    return None if fields or type(event.user_attributes) is not dict else event


_slots: Mapping[str, Any] = vars(Event)

_FIELDS = [
    (name, frozenset(kinds), default, _slots[name].__set__)
    for name, kinds, default in (
        ("uuid", [str], None),
        ("customer_id", [str], None),
        ("occurred_at", [int], None),
        ("experience_context", [dict], None),
        ("platform", [str], "web"),
        ("b_id", [str, type(None)], None),
        ("user_timezone_offset", [int, type(None)], None),
        ("trace", [str, type(None)], None),
    )
]
"""An event's fields: their types in JSON, their defaults, and how they are set."""

_DEFAULTS = {name: default for name, _, default, _ in _FIELDS}

_NO_ATTRIBUTES: dict[str, Any] = {}
"""One for all events: each dict of their own would take time in garbage collections."""

_set_attributes = _slots["user_attributes"].__set__
_set_action = _slots["action"].__set__
_ACTIONS = {action.value: action for action in Action}
