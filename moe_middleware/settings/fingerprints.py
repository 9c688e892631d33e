"""A digest of settings: equal settings have equal digests. Pure: no I/O."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any


def fingerprint_of(values: Mapping[str, Any], objects: Iterable[object]) -> bytes:
    """Return 32 bytes that depend on all values, secrets included.

    Args:
        values: The values of the settings.
        objects: Objects given by code in place of their names, or the names; objects
            count by their identity.
    """

    def whole(value: Any) -> str:
        return str(value.get_secret_value())

    given = [id(one) for one in objects if not isinstance(one, str | None)]
    text = json.dumps([values, given], default=whole, sort_keys=True)
    return blake2b(text.encode(errors="surrogatepass"), digest_size=32).digest()
