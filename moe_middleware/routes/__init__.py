"""Which experiences a path wants."""

from __future__ import annotations
