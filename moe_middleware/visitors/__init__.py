"""Identifies visitors, and decides whether they count."""

from __future__ import annotations
