"""The cache's names for visitors and for what their answers depend on. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b

from ..models.identity import Identity


def visitor_key(identity: Identity) -> bytes:
    """Return the 16 bytes that stand for a visitor: a digest, so it holds no ids."""
    return key_of_ids(
        identity.customer_id, identity.visitor_id, identity.user_identifiers
    )


def key_of_ids(
    customer_id: str | None, visitor_id: str | None, identifiers: Mapping[str, str]
) -> bytes:
    """Do so for ids that are no ``Identity`` yet."""
    # Each shape begins with a letter of its own, so that no two can read the same.
    if identifiers:
        told = sorted(identifiers.items())
        text = f"u{(customer_id, visitor_id, told)!a}"
    elif visitor_id is None:
        text = f"c{customer_id}" if customer_id is not None else "n"
    elif customer_id is None:
        text = f"v{visitor_id}"
    else:
        text = f"b{len(customer_id)}:{customer_id}{visitor_id}"
    # A copy of a prepared digest costs half of a new one.
    digest = _VISITOR.copy()
    digest.update(text.encode("utf-8", "surrogatepass"))
    return digest.digest()


def split_key(attributes: Mapping[str, str]) -> bytes:
    """Return the 8 bytes that stand for the attributes an answer depends on.

    Their order does not matter. Nearly all visitors of an hour share the same ones.
    """
    return _split(tuple(attributes.items()))


@lru_cache(maxsize=4096)
def experience_digest(key: str) -> bytes:
    """Return the 8 bytes that stand for an experience key."""
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()


# Values come from visitors and may be long: few of them are kept.
@lru_cache(maxsize=256)
def _split(items: tuple[tuple[str, str], ...]) -> bytes:
    return blake2b(ascii(sorted(items)).encode(), digest_size=8).digest()


_VISITOR = blake2b(digest_size=16)
