"""Who gets what in the sandbox, and why."""

from __future__ import annotations
