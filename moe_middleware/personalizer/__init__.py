"""What one page gets and what becomes of it."""

from __future__ import annotations
