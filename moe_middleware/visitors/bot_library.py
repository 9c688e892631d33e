"""The bots of the package crawler-user-agents, if the settings want it."""

from __future__ import annotations

from collections.abc import Callable

from ..models.errors import Problem, SettingsError

INSTALL = "pip install 'moe_middleware[bots]'"


def load_crawlers() -> Callable[[str], bool]:
    """Return a function that recognises crawlers by their User-Agent.

    It reads and compiles about 1,500 patterns, which takes hundredths of a second: do
    it at the start.

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
