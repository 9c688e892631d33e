"""The parts of a cache key: visitor, variant and experience. Pure: no I/O.

A variant is the attribute values that an answer depends on (``cache.vary``).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b

from ..models.identity import Identity


def visitor_key(identity: Identity) -> bytes:
    """Return a visitor's part of a cache key: a digest of 16 bytes, without any id."""
    return key_of_ids(
        identity.customer_id, identity.visitor_id, identity.user_identifiers
    )


def key_of_ids(
    customer_id: str | None, visitor_id: str | None, identifiers: Mapping[str, str]
) -> bytes:
    """Return the same as ``visitor_key`` for ids without making an ``Identity``."""
    # Each form begins with a letter of its own, so that no two collide.
    if identifiers:
        pairs = sorted(identifiers.items())
        text = f"u{(customer_id, visitor_id, pairs)!a}"
    elif visitor_id is None:
        text = f"c{customer_id}" if customer_id is not None else "n"
    elif customer_id is None:
        text = f"v{visitor_id}"
    else:
        text = f"b{len(customer_id)}:{customer_id}{visitor_id}"
    # Copying a prepared digest takes half the time of making one.
    digest = _VISITOR.copy()
    # A cookie may hold bytes that are no UTF-8: they come as surrogates.
    digest.update(text.encode("utf-8", "surrogatepass"))
    return digest.digest()


def variant_key(attributes: Mapping[str, str]) -> bytes:
    """Return a variant's part of a cache key: a digest of 8 bytes.

    The order of the attributes does not matter. Nearly all visitors of the same hour
    have the same variant.
    """
    return _variant(tuple(attributes.items()))


@lru_cache(maxsize=4096)
def with_digests(keys: tuple[str, ...]) -> tuple[tuple[str, bytes], ...]:
    """Return experience keys with their parts of a cache key."""
    return tuple([(key, experience_digest(key)) for key in keys])


@lru_cache(maxsize=4096)
def experience_digest(key: str) -> bytes:
    """Return an experience's part of a cache key: a digest of 8 bytes."""
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()


# Visitors choose the values, which may be long: few are kept.
@lru_cache(maxsize=256)
def _variant(items: tuple[tuple[str, str], ...]) -> bytes:
    return blake2b(ascii(sorted(items)).encode(), digest_size=8).digest()


_VISITOR = blake2b(digest_size=16)
