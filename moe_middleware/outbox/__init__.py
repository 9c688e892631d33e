"""Durable delivery: what happened is kept here until MoEngage has it."""

from __future__ import annotations

from ..models.observers import Observer
from ..settings.sections import EventSettings
from .contract import (
    Claim,
    Counts,
    DeadLetter,
    EventId,
    Health,
    Kind,
    Outbox,
    WaitingEvent,
    WhenFull,
)
from .memory import MemoryOutbox
from .sqlite.outbox import SQLiteOutbox

__all__ = [
    "Claim",
    "Counts",
    "DeadLetter",
    "EventId",
    "Health",
    "Kind",
    "MemoryOutbox",
    "Outbox",
    "SQLiteOutbox",
    "WaitingEvent",
    "WhenFull",
    "open_outbox",
]


def open_outbox(
    events: EventSettings | str,
    *,
    workspace_id: str = "",
    observer: Observer | None = None,
) -> Outbox:
    """Return the outbox that the settings name; nothing is opened yet.

    Args:
        events: The settings of events, or only the outbox's address:
            ``sqlite:///relative.db``, ``sqlite:////absolute.db``,
            ``redis://host:6379/0`` or ``memory:``.
        workspace_id: Whose events they are: one Redis may hold several workspaces'.
        observer: Is told what happens to events.
    """
    if isinstance(events, str):
        events = EventSettings.model_validate({"outbox": events})
    address = events.outbox
    if address.is_redis:
        from .redis.outbox import RedisOutbox

        return RedisOutbox(
            address.get_secret_value(),
            workspace_id=workspace_id,
            max_events=events.max_events,
            when_full=events.when_full,
            observer=observer or Observer(),
        )
    if address.file is not None:
        return SQLiteOutbox(
            address.file,
            synchronous=events.synchronous,
            max_events=events.max_events,
            when_full=events.when_full,
            observer=observer,
        )
    return MemoryOutbox(
        max_events=events.max_events, when_full=events.when_full, observer=observer
    )
