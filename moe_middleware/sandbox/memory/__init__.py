"""What the sandbox remembers."""

from __future__ import annotations
