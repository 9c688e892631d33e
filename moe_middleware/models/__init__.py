"""The values that all other folders share."""

from __future__ import annotations
