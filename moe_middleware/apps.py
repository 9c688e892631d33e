"""The Django app: ``"moe_middleware"`` in ``INSTALLED_APPS``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, register


class MoEngageConfig(AppConfig):
    """Template tags, the command ``moe``, and system checks."""

    name = "moe_middleware"
    verbose_name = "MoEngage"

    def ready(self) -> None:
        """Register the checks."""
        register(_found)


def _found(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    # Most commands check nothing, and need not import the middleware.
    from .django.checks import found

    return [*found()]
