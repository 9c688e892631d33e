"""The form of our log lines."""

from __future__ import annotations
