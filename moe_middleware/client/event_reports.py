"""The JSON of a report of events, and its limits. Pure: no I/O, no clock.

The rules come from MoEngage's document Track Experience Events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from ..models.events import Action, Event
from .wire import not_sent

MAX_EVENT_ELEMENTS = 100
"""Elements (users) of one report at most (Track Experience Events)."""

MAX_REPORT_BYTES = 256 * 1024
"""Our own limit, as none is published: a hundred users with three events each fit, and
gateways commonly accept four times as much."""

EVENT_OVERHEAD = 240
"""Bytes of an event beside its context, id and attributes: names, uuid, times."""

ACTION_NAMES = {
    Action.IMPRESSION: "MOE_PERSONALIZATION_MESSAGE_SHOWN",
    Action.CLICK: "MOE_PERSONALIZATION_MESSAGE_CLICKED",
}

_ElementKey = tuple[str, int | None, bytes]


class Room:
    """The room that one report has left, in users and in bytes."""

    def __init__(self) -> None:
        self._bytes_left = MAX_REPORT_BYTES
        self._elements: set[_ElementKey] = set()

    def takes(self, event: Event) -> bool:
        """Reserve room for an event if it fits; the first one always does."""
        key, size = _element_key(event), _size(event)
        # An event beyond the limit goes alone: nothing else would ever send it.
        if self._elements:
            full = len(self._elements) == MAX_EVENT_ELEMENTS
            if size > self._bytes_left or (full and key not in self._elements):
                return False
        self._elements.add(key)
        self._bytes_left -= size
        return True


def batches(events: Iterable[Event]) -> list[list[Event]]:
    """Divide events into reports that respect the limits, in order."""
    cut: list[list[Event]] = []
    room = Room()
    for event in events:
        if not cut or not room.takes(event):
            room = Room()
            room.takes(event)
            cut.append([])
        cut[-1].append(event)
    return cut


def reports(events: Iterable[Event]) -> Iterator[bytes]:
    """Yield the bodies of the reports that events take, in order.

    Raises:
        InvalidRequestError: JSON has no form for one of their values.
    """
    try:
        yield from _reports(list(events))
    except TypeError as error:
        raise not_sent(error) from error


def _reports(events: list[Event]) -> Iterator[bytes]:
    if len(events) * EVENT_OVERHEAD <= MAX_REPORT_BYTES:
        # A relay's fit into one: they were counted before.
        elements = _elements(events)
        body = _body(elements)
        if len(elements) <= MAX_EVENT_ELEMENTS and len(body) <= MAX_REPORT_BYTES:
            if elements:
                yield body
            return
    for batch in batches(events):
        yield events_body(batch)


def events_body(events: Iterable[Event]) -> bytes:
    """Return the body of a report: one element per user, with the actions in order."""
    return _body(_elements(events))


def _body(elements: Iterable[bytes]) -> bytes:
    return b'{"elements":[%b]}' % b",".join(elements)


def _elements(events: Iterable[Event]) -> list[bytes]:
    """Return the JSON of one element per user.

    Each action is encoded at once: dicts that are kept until the end of a report would
    cost more in garbage collections than all of the rest.
    """
    elements: dict[_ElementKey, bytearray] = {}
    for event in events:
        key = _element_key(event)
        element = elements.get(key)
        if element is None:
            head = orjson.dumps(_element(event))[:-1]
            element = elements[key] = bytearray(head + b',"actions":[')
        else:
            element += b","
        element += orjson.dumps(_action(event))
    return [bytes(element + b"]}") for element in elements.values()]


def _element_key(event: Event) -> _ElementKey:
    return (
        event.customer_id,
        event.user_timezone_offset,
        orjson.dumps(event.user_attributes, option=orjson.OPT_SORT_KEYS)
        if event.user_attributes
        else b"",
    )


def _size(event: Event) -> int:
    """Return an upper estimate of the bytes that an event adds to a report."""
    size = EVENT_OVERHEAD + len(orjson.dumps(event.experience_context))
    size += len(event.customer_id) + 2 * len(event.b_id or "")
    if event.user_attributes:
        size += len(orjson.dumps(event.user_attributes))
    return size


def _element(event: Event) -> dict[str, Any]:
    element: dict[str, Any] = {"customer_id": event.customer_id}
    if event.user_attributes:
        element["user_attributes"] = event.user_attributes
    if event.user_timezone_offset is not None:
        element["user_timezone_offset"] = event.user_timezone_offset
    return element


def _action(event: Event) -> dict[str, Any]:
    context = event.experience_context
    action: dict[str, Any] = {
        "action": ACTION_NAMES[event.action],
        "moe_event_uuid": event.uuid,
        "event_time": event.occurred_at,
        "platform": event.platform,
        "attributes": context if type(context) is dict else dict(context),
    }
    if event.b_id is not None:
        # The documents' tables have it on the action, all samples in the attributes.
        action["b_id"] = event.b_id
        action["attributes"] = {**context, "b_id": event.b_id}
    return action
