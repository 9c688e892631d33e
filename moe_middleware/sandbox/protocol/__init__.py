"""The API's JSON as the sandbox reads and writes it."""

from __future__ import annotations
