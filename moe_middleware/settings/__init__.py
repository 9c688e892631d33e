"""The settings: read, checked and explained."""

from __future__ import annotations
