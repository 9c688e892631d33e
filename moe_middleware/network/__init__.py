"""Bytes and time only: connections, limits, retries."""

from __future__ import annotations
