"""The personalization of one page, from its fetch to its events."""

from __future__ import annotations
