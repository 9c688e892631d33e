"""The OpenFeature provider: experiences as feature flags."""

from __future__ import annotations

try:
    from .provider import MoEngageProvider
except ModuleNotFoundError as error:
    if error.name is None or error.name.split(".")[0] != "openfeature":
        raise
    message = "openfeature-sdk is missing: pip install 'moe_middleware[openfeature]'"
    raise ImportError(message) from error

__all__ = ["MoEngageProvider"]
