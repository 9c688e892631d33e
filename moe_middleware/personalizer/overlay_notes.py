"""Notes for the overlay: the waits and missing keys of a page."""

from __future__ import annotations

from collections.abc import Iterable

from ..models.reasons import Reason

MOST = 50
"""Keys without an answer that one page's overlay shows at most."""


class OverlayNotes:
    """Notes how long a page waited for each key, and which keys it lacked.

    Attributes:
        waits: The seconds by key.
        missing: The reasons of keys that the page read and that have no answer.
    """

    __slots__ = ("_since", "missing", "waits")

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self.waits: dict[str, float] = {}
        self.missing: dict[str, Reason | None] = {}

    def begin(self, keys: Iterable[str], waited: float) -> None:
        """Note that keys are being fetched.

        Args:
            keys: The keys.
            waited: Seconds that the page has waited until now.
        """
        for key in keys:
            self._since.setdefault(key, waited)

    def end(self, keys: Iterable[str], waited: float) -> None:
        """Note that keys have their answers."""
        for key in keys:
            if key in self._since:
                self.waits[key] = waited - self._since.pop(key)

    def miss(self, key: str, reason: Reason | None) -> None:
        """Note that the page read a key without an answer."""
        if len(self.missing) < MOST:
            self.missing[key] = reason
