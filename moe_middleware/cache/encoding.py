"""An experience as the bytes that caches keep, and back. Pure."""

from __future__ import annotations

import orjson

from ..models.experience import Experience
from ..models.reasons import Reason, Source

NO_MATCH = b""


def encode(experience: Experience) -> bytes:
    """Return what is kept of an answer; nothing at all where there was no match.

    Bytes cost a quarter of the parsed objects' memory and nothing at a garbage
    collection; decoding them takes microseconds.
    """
    if not experience:
        return NO_MATCH
    dumped = orjson.dumps([experience.payload, experience.experience_context])
    # The copy is without the encoder's spare room, of kilobytes.
    return bytes(memoryview(dumped))


def decode(
    key: str, body: bytes, source: Source, reason: Reason | None = None
) -> Experience:
    """Return the experience that was encoded.

    Args:
        key: Its experience key.
        body: What ``encode`` returned.
        source: Where it comes from now.
        reason: Why it is only a stale answer; None for a fresh one.

    Raises:
        ValueError: The bytes are none of ours.
    """
    if not body:
        return Experience(key=key, source=source, reason=reason or Reason.NO_MATCH)
    kept = orjson.loads(body)
    payload, context = kept if isinstance(kept, list) and len(kept) == 2 else (0, 0)
    if isinstance(payload, dict) and isinstance(context, dict):
        return Experience(
            key=key,
            payload=payload,
            experience_context=context,
            source=source,
            reason=reason,
        )
    raise ValueError("no experience in these bytes")
