"""Checks what callers pass to public functions. Pure.

An error says what was given and what to pass. Ids are never part of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from .events import Action, Event
from .identity import Identity
from .plain_values import text_of

ACTIONS = tuple(Action)
EVENT = "make each with Event.impression or Event.click"


def texts_of(given: object, name: str, example: str) -> tuple[str, ...]:
    """Return a caller's list of texts, which an error calls by its ``name``.

    Raises:
        TypeError: It is one text, no list, or a list of something else.
    """
    if isinstance(given, str):
        raise TypeError(f"{name} is a text: write [{given!r}], a list")
    if not isinstance(given, Iterable) or isinstance(given, bytes | bytearray):
        raise TypeError(f"{name} is {_kind(given)}: write a list, as in [{example!r}]")
    texts = []
    for one in given:
        text = one if type(one) is str else text_of(one)
        if text is None and one != "":
            raise TypeError(
                f"{name} contains one that is {_kind(one)}: write texts, as in "
                f"[{example!r}]"
            )
        texts.append(text or "")
    return tuple(texts)


def identity_of(given: object) -> Identity:
    """Return a caller's ids; none for None.

    Raises:
        TypeError: They are no ``Identity``, or an id is no text.
    """
    if given is None:
        return Identity()
    if not isinstance(given, Identity):
        raise TypeError(
            f"identity is {_kind(given)}: write "
            "Identity(customer_id=...) or Identity(visitor_id=...)"
        )
    for name in ("customer_id", "visitor_id"):
        one = getattr(given, name)
        if one is not None and not isinstance(one, str):
            raise TypeError(f"identity.{name} is {_kind(one)}: write it as text")
    mapping_of(given.user_identifiers, "identity.user_identifiers", "{'u_em': ...}")
    return given


def mapping_of(
    given: object,
    name: str = "attributes",
    example: str = "{'utm_medium': 'email'}",
) -> Mapping[str, Any]:
    """Return a caller's mapping, which an error calls by its ``name``.

    Raises:
        TypeError: It is no mapping.
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"{name} is {_kind(given)}: write a mapping, as in {example}")
    return given


def events_of(given: object) -> list[Event]:
    """Return a caller's events.

    Raises:
        TypeError: They are no list of events, or one has no action of ``Action``.
    """
    if isinstance(given, Event):
        raise TypeError("this is one event: write [event], a list of events")
    if not isinstance(given, Iterable):
        raise TypeError(f"events is {_kind(given)}: write a list of events; {EVENT}")
    events = list(given)
    for one in events:
        if not isinstance(one, Event):
            raise TypeError(f"events contains one that is {_kind(one)}: {EVENT}")
        if one.action not in ACTIONS:
            raise TypeError(f"events contains one of an unknown action: {EVENT}")
    return events


def seconds_of(given: object, name: str = "timeout") -> float:
    """Return a caller's number of seconds.

    Raises:
        TypeError: It is no number.
        ValueError: It is NaN.
    """
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise TypeError(f"{name} is {_kind(given)}: write seconds, as in 0.5")
    if math.isnan(given):
        raise ValueError(f"{name} is NaN: write seconds, as in 0.5")
    return given


def _kind(given: object) -> str:
    """Return a value's type for an error."""
    if given is None:
        return "None"
    if isinstance(given, type):
        return f"the class {given.__name__}"
    return f"of type {type(given).__name__}"
