"""Caches of the API's answers: in the process's memory, and shared in Redis."""

from __future__ import annotations

from .keys import key_of_ids, variant_key, visitor_key
from .memory import MemoryCache

__all__ = ["MemoryCache", "key_of_ids", "variant_key", "visitor_key"]
