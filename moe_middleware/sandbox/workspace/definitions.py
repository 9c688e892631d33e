"""Makes experiences and customers from plain values, for tests. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from .rules import AttributeMeets, Operator
from .schedules import Status
from .values import type_of
from .workspace import (
    Audience,
    Customer,
    Experience,
    Value,
    Variation,
    cid_token_of,
)

Payload = Mapping[str, Any]


def define_experience(
    key: str,
    payloads: Payload | Sequence[Payload],
    *,
    to: Mapping[str, Any] | None = None,
    name: str | None = None,
    status: Status | str = Status.ACTIVE,
) -> Experience:
    """Return an experience with one audience; see ``Sandbox.define``.

    Raises:
        ValueError: A payload's value is no JSON, or there is no payload.
        TypeError: An argument has another type.
    """
    if not isinstance(key, str):
        raise TypeError(f"key is of type {type(key).__name__}: write it as text")
    if to is not None and not isinstance(to, Mapping):
        raise TypeError(
            f"to is of type {type(to).__name__}: write a customer's attributes, as in "
            "{'city': 'Pune'}"
        )
    is_several = isinstance(payloads, list | tuple)
    arms: list[Any] = list(payloads) if is_several else [payloads]
    for arm in arms:
        if not isinstance(arm, Mapping):
            raise TypeError(
                f"a payload of {key!r} is of type {type(arm).__name__}: write a "
                "mapping, as in {'Title': 'Sale'}"
            )
    if not arms:
        raise ValueError(
            f"Experience {key!r} needs a payload, which may be empty: {{}}"
        )
    audience = Audience(
        audience_id="1A",
        name=", ".join(f"{k} {v}" for k, v in to.items()) if to else "All Users",
        rules=tuple(
            AttributeMeets(k, Operator.IS, (v,)) for k, v in (to or {}).items()
        ),
        variations=tuple(
            Variation(
                variation_id=str(number),
                payload={name: _value(name, value) for name, value in arm.items()},
                percent=100 / len(arms),
            )
            for number, arm in enumerate(arms, start=1)
        ),
    )
    return Experience(
        key=key,
        name=name or key,
        cid_token=cid_token_of(key),
        audiences=(audience,),
        status=Status(status),
    )


def define_customer(customer_id: object, attributes: Mapping[str, Any]) -> Customer:
    """Return a customer; see ``Sandbox.customer``.

    Raises:
        TypeError: ``customer_id`` is no text.
    """
    if not isinstance(customer_id, str):
        kind = type(customer_id).__name__
        raise TypeError(f"customer_id is of type {kind}: write it as text")
    return Customer(customer_id=customer_id, attributes=attributes)


def _value(name: str, value: object) -> Value:
    if isinstance(value, Value):
        return value
    if type(value) not in (str, bool, int, float, dict, list):
        raise ValueError(
            f"{name} is a {type(value).__name__}: use text, a number, true or false, "
            "a list or a dict."
        )
    try:
        orjson.dumps(value)  # no number of more than 64 bits
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} is no JSON that the API can answer: {error}"
        ) from None
    return Value(value, type_of(value))
