"""The outbox in a Redis."""

from __future__ import annotations
