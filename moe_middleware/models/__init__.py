"""The values that all folders share."""

from __future__ import annotations
