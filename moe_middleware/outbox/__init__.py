"""Durable delivery: what happened is kept here until MoEngage has it."""

from __future__ import annotations

from .contract import Claim, Counts, DeadLetter, Outbox
from .memory import MemoryOutbox
from .sqlite import SQLiteOutbox

__all__ = [
    "Claim",
    "Counts",
    "DeadLetter",
    "MemoryOutbox",
    "Outbox",
    "SQLiteOutbox",
    "open_outbox",
]

SQLITE_SCHEME = "sqlite:///"


def open_outbox(url: str) -> Outbox:
    """Return the outbox of a settings file's ``events.outbox``; nothing is opened yet.

    Args:
        url: ``sqlite:///relative.db``, ``sqlite:////absolute.db`` or ``memory:``.
    """
    if url.startswith(SQLITE_SCHEME):
        return SQLiteOutbox(url.removeprefix(SQLITE_SCHEME))
    return MemoryOutbox()
