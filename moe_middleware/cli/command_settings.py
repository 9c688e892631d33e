"""Loads the settings of a command, or ends it with one line per mistake."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..models.errors import SettingsError
from .terminal import stop

if TYPE_CHECKING:
    from ..settings.settings import Settings


embedding: ContextVar[Callable[..., Settings] | None] = ContextVar(
    "moe_middleware.cli.command_settings", default=None
)
"""Loads the settings in a program that runs our commands, as Django's manage.py does;
takes the keywords of ``Settings.load``."""


def load_settings(config: str | None, **keywords: Any) -> Settings:
    """Return the settings of a file, or of the environment if there is none.

    On mistakes the command ends with exit code 1.

    Args:
        config: The file; None takes MOE_CONFIG's, else ``moe.yml`` if there is one.
        keywords: As for ``Settings.load``.
    """
    try:
        return settings_of(config, file_needed=False, **keywords)
    except SettingsError as error:
        stop(error.problems)


def settings_of(
    config: str | None, *, file_needed: bool = True, **keywords: Any
) -> Settings:
    """Return the settings of a file, of the embedding program, or of the environment.

    Raises:
        SettingsError: Something is wrong; it lists every mistake at once.
    """
    from ..settings.settings import FILE, Settings

    # A console script has its own folder in sys.path, not the app's.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    given = embedding.get()
    if config is None and given is not None:
        return given(**keywords)
    named = config or os.environ.get("MOE_CONFIG") or Path(FILE).exists()
    if not (named or file_needed):
        return Settings.from_env(**keywords)
    return Settings.load(config, **keywords)
