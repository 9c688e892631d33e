"""Reads files with API keys again when they change: a rotation needs no restart."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import SecretStr

from ..models.errors import SettingsError
from ..settings.settings import Settings

logger = logging.getLogger(__name__)

EVERY = 5.0
"""Seconds between two checks of the files."""


class KeyFiles:
    """Watches the files of ``MOE_API_KEY_FILE`` and other ``NAME_FILE`` variables.

    Args:
        settings: The settings as they were read at the start.
        use: Called with new keys, the newest first, when they have changed.
    """

    def __init__(
        self, settings: Settings, use: Callable[[Sequence[SecretStr]], None]
    ) -> None:
        self._settings = settings
        self._use = use
        self._keys = settings.workspace.keys
        self._seen = self._look()
        self._lock = threading.Lock()
        self._complaint = ""

    @property
    def any(self) -> bool:
        """Whether there are such files."""
        return bool(self._settings.secret_files)

    async def watch(self) -> None:
        """Check the files regularly, until cancelled."""
        while self.any:
            await asyncio.sleep(EVERY)
            self.read_if_changed()

    def read_if_changed(self) -> None:
        """Read the files again if one of them has changed."""
        with self._lock:
            if (seen := self._look()) != self._seen:
                self._read(seen)

    def read(self) -> None:
        """Read the files again, as at a SIGHUP."""
        with self._lock:
            self._read(self._look())

    def _look(self) -> list[Any]:
        return [_state(path) for path in self._settings.secret_files]

    def _read(self, seen: list[Any]) -> None:
        try:
            keys = self._settings.read_again().workspace.keys
        except SettingsError as error:
            # The file may be half written: the next check tries again.
            if str(error) != self._complaint:
                self._complaint = str(error)
                logger.warning("api_key_unread: the keys before stay in use: %s", error)
            return
        self._seen, self._complaint = seen, ""
        if keys != self._keys:
            self._keys = keys
            self._use(keys)
            logger.info("api_key_changed keys=%d", len(keys))


def _state(path: str) -> tuple[int, int, int] | None:
    """Return values that change whenever a file is written or replaced."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    # Kubernetes replaces a file: the new one may have the time of the old one.
    return found.st_ino, found.st_mtime_ns, found.st_size
