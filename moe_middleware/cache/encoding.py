"""Encodes experiences as the bytes that caches keep, and decodes them. Pure: no I/O."""

from __future__ import annotations

import orjson

from ..models.experience import SET, Elements, Experience, id_of
from ..models.reasons import Reason, Source

NO_MATCH = b""


def encode(experience: Experience) -> bytes:
    """Return an experience's payload and context as bytes; empty if it did not match.

    Bytes take a quarter of the parsed objects' memory and no time in a garbage
    collection; decoding takes microseconds.
    """
    if not experience:
        return NO_MATCH
    payload = orjson.dumps(experience.payload)
    # Encoded JSON has no line breaks; the context stays encoded until it is read.
    return b"%b\n%b" % (payload, orjson.dumps(experience.experience_context))


def decode(
    key: str, body: bytes, source: Source, reason: Reason | None = None
) -> Experience:
    """Return the experience that was encoded.

    Args:
        key: Its experience key.
        body: The result of ``encode``.
        source: The experience's source from now on.
        reason: Why a stale answer is used; None for a fresh one.

    Raises:
        ValueError: ``encode`` did not make these bytes.
    """
    if not body:
        return Experience(key=key, source=source, reason=reason or Reason.NO_MATCH)
    first, _, second = body.partition(b"\n")
    payload, context = orjson.loads(first), orjson.loads(second or b"0")
    if isinstance(payload, dict) and isinstance(context, dict):
        return Experience(
            key=key,
            payload=payload,
            experience_context=context,
            source=source,
            reason=reason,
        )
    raise ValueError("these bytes are no encoded experience")


def read_kept(key: str, body: bytes, elements: Elements) -> Experience:
    """Return a fresh answer of a cache, bound to the elements of its page.

    Args:
        key: Its experience key.
        body: The result of ``encode``; other bytes are a bad answer.
        elements: The elements of its page.
    """
    payload, _, context = body.partition(b"\n")
    made = Experience.__new__(Experience)
    SET.elements(made, elements)
    SET.key(made, key)
    try:
        SET.payload(made, orjson.loads(payload) if payload else {})
    except ValueError:
        return Experience(key=key, reason=Reason.BAD_ANSWER)
    if context == b"{}" or not context:
        SET.experience_context(made, {})
    else:
        # Most contexts are never read: decode them on demand.
        SET.context(made, context)
    SET.source(made, Source.CACHE)
    SET.reason(made, None if body else Reason.NO_MATCH)
    return made


def variation_in(body: bytes) -> str | None:
    """Return the variation of an encoded experience, as its ``variation`` is."""
    context = body.partition(b"\n")[2]
    return id_of(orjson.loads(context), "moe_variation_id") if context else None
