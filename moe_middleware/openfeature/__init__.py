"""The OpenFeature provider: experiences as feature flags."""

from __future__ import annotations

from .provider import MoEngageProvider

__all__ = ["MoEngageProvider"]
