"""What was fetched, kept for a while: one file a backend."""

from __future__ import annotations

from .memory import MemoryCache

__all__ = ["MemoryCache"]
