"""Which visitor gets which variation in the sandbox, and why."""

from __future__ import annotations
