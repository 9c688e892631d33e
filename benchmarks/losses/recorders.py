"""What the script is told to do, whoever does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """One package at work.

    Attributes:
        record: Records one impression of a user: for us, a page that shows it.
        close: Ends as its documents say before a process ends.
    """

    record: Callable[[str], object]
    close: Callable[[], object]
