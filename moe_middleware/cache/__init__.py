"""What was fetched, kept for a while: one file a backend."""

from __future__ import annotations

from .keys import key_of_ids, split_key, visitor_key
from .memory import MemoryCache

__all__ = ["MemoryCache", "key_of_ids", "split_key", "visitor_key"]
