"""Makes experiences and customers from plain values, for tests. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from .rules import AttributeIs
from .schedules import Status
from .workspace import Audience, DataType, Experience, Value, Variation

Payload = Mapping[str, Any]

_TYPES: Mapping[type, DataType] = {
    str: DataType.STRING,
    bool: DataType.BOOLEAN,
    int: DataType.NUMBER,
    float: DataType.FLOAT,
    dict: DataType.JSON,
    list: DataType.JSON,
}


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
    """
    arms = [payloads] if isinstance(payloads, Mapping) else list(payloads)
    if not arms:
        raise ValueError(
            f"Experience {key!r} needs a payload, which may be empty: {{}}"
        )
    audience = Audience(
        audience_id="1A",
        name=", ".join(f"{k} {v}" for k, v in to.items()) if to else "All Users",
        rules=tuple(AttributeIs(k, (v,)) for k, v in (to or {}).items()),
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
        cid_token=hashlib.sha256(key.encode()).hexdigest()[:24],
        audiences=(audience,),
        status=Status(status),
    )


def _value(name: str, value: object) -> Value:
    if isinstance(value, Value):
        return value
    kind = _TYPES.get(type(value))
    if kind is None:
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
    return Value(value, kind)
