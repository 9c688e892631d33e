"""Event loops, threads and forks."""

from __future__ import annotations
