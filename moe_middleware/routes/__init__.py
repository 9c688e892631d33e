"""The experiences that a path wants."""

from __future__ import annotations
