"""Who a visitor is, and whether they count."""

from __future__ import annotations
