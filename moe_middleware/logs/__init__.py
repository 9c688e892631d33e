"""How our log lines are written."""

from __future__ import annotations
