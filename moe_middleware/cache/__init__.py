"""What was fetched, kept for a while: one file a backend."""

from __future__ import annotations

from .digests import split_key, visitor_key
from .memory import MemoryCache

__all__ = ["MemoryCache", "split_key", "visitor_key"]
