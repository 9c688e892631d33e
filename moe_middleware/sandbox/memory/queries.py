"""The SQL of the store, and the rows of a report's events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from ..protocol.events import ACTIONS, WEB_SDK_ACTIONS, Element, Via

_FIELDS = (
    *("uuid", "clicked", "customer_id", "context", "cid_token", "audience_id"),
    *("variation_id", "b_id", "event_time", "platform", "user_timezone_offset"),
    *("user_attributes", "received_at", "via", "device_uuid"),
)

# Rows are passed as one JSON text, both ways: Python releases the interpreter's lock at
# every row that it binds or reads, and a busy event loop is slow to release it again.
ARRIVE = f"""
insert into arrival ({", ".join(_FIELDS)})
select {", ".join(f"json_extract(value, '$[{n}]')" for n in range(len(_FIELDS)))}
from json_each(:events)
"""
LEARN = """
insert into profile_attribute (customer_id, name, value)
select json_extract(value, '$[0]'), json_extract(value, '$[1]'),
    json_extract(value, '$[2]')
from json_each(:attributes) where true
on conflict do update set value = excluded.value
"""
PROFILE = """
select (
    select json_group_object(name, json(value)) from profile_attribute
    where profile_attribute.customer_id = profile.customer_id
)
from profile where customer_id = ?
"""
PROFILES = """
select json_group_array(json_array(customer_id, json(attributes))) from (
    select customer_id, (
        select json_group_object(name, json(value)) from profile_attribute
        where profile_attribute.customer_id = profile.customer_id
    ) as attributes
    from profile
    where customer_id not in (select value from json_each(:but)) order by id
    limit :limit
)
"""
# The cross join makes SQLite scan events in order and stop at the limit.
EVENTS = f"""
select json_group_array(json_object(
    'id', id, 'customer_id', customer_id,
    'action', iif(via = '{Via.WEB_SDK}',
        iif(clicked, '{WEB_SDK_ACTIONS[1]}', '{WEB_SDK_ACTIONS[0]}'),
        iif(clicked, '{ACTIONS[1]}', '{ACTIONS[0]}')
    ),
    'moe_event_uuid', uuid, 'event_time', event_time, 'platform', platform,
    'attributes', json(body), 'b_id', b_id,
    'user_timezone_offset', user_timezone_offset,
    'user_attributes', json(coalesce(user_attributes, json_object())),
    'cid_token', cid_token, 'audience_id', audience_id, 'variation_id', variation_id,
    'received_at', received_at, 'via', via, 'device_uuid', device_uuid
)) from (
    select event.*, body, cid_token, audience_id, variation_id
    from event cross join context on context.id = context_id
    where {{where}} order by event.id {{order}} limit :limit
)
"""
COUNT = """
select count(*) from event cross join context on context.id = context_id where {where}
"""


def event_rows(element: Element, received_at: float) -> Iterator[tuple[Any, ...]]:
    """Yield an element's actions, in the order of ``_FIELDS``."""
    customer_id = plain(element.customer_id)
    for action in element.actions:
        context = action.attributes
        yield (
            plain(action.uuid),
            ACTIONS.index(action.action),
            customer_id,
            context,
            plain(cid_token(context["cid"])),
            plain(context["audience_id"]),
            plain(context["moe_variation_id"]),
            None if action.b_id is None else plain(action.b_id),
            action.event_time,
            action.platform,
            element.user_timezone_offset,
            element.user_attributes or None,
            received_at,
            action.via,
            action.device_uuid,
        )


def attribute_rows(element: Element) -> Iterator[tuple[str, str, str]]:
    for name, value in element.user_attributes.items():
        yield plain(element.customer_id), plain(name), to_json(value)


def cid_token(cid: str) -> str:
    """Return the common beginning of all cids of one experience."""
    return cid.partition("_")[0]


def plain(text: str) -> str:
    # SQLite truncates a JSON text at a NUL, which would make two ids equal.
    return text.replace("\0", "\N{SYMBOL FOR NULL}")


def to_json(document: object) -> str:
    return orjson.dumps(document).decode()
