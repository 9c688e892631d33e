"""Tea & Thyme: a small shop whose pages are personalised by moe_middleware."""

from __future__ import annotations
