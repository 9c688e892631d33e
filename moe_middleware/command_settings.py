"""The settings that a command works with, or its end with a line for each mistake."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import SettingsError
from .terminal import stop

if TYPE_CHECKING:
    from .settings import Settings


def load_settings(config: str | None, **keywords: Any) -> Settings:
    """Return the settings of a file, or of the environment where there is none.

    The command ends with exit code 1 where there are mistakes.

    Args:
        config: The file; None takes MOE_CONFIG's, else ``moe.yml`` if there is one.
        keywords: As for ``Settings.load``.
    """
    from .settings import FILE, Settings

    in_apps_folder()
    named = config or os.environ.get("MOE_CONFIG")
    try:
        if not named and not Path(FILE).exists():
            return Settings.from_env(**keywords)
        return Settings.load(config, **keywords)
    except SettingsError as error:
        stop(error.problems)


def in_apps_folder() -> None:
    """Let modules be imported from here: a script's path has only its own folder."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
