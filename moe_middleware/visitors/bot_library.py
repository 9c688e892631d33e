"""Bots that the package crawler-user-agents knows, where the settings ask for it."""

from __future__ import annotations

from collections.abc import Callable

from ..models.errors import Problem, SettingsError

INSTALL = "pip install 'moe_middleware[bots]'"


def load_crawlers() -> Callable[[str], bool]:
    """Return what tells a crawler by its User-Agent, ready to be asked.

    This reads and compiles some 1,500 patterns, which takes hundredths of a second
    that no page should wait for.

    Raises:
        SettingsError: The package is missing.
    """
    try:
        from crawleruseragents import (  # type: ignore[import-untyped]
            is_crawler,
        )
    except ImportError as error:
        message = f"'on' needs the package crawler-user-agents: {INSTALL}"
        raise SettingsError([Problem(where="bots.library", message=message)]) from error
    known: Callable[[str], bool] = is_crawler
    known("")
    return known
