"""Durable delivery: events are stored here until MoEngage has them."""

from __future__ import annotations

import os
from hashlib import blake2b

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
    "journal_prefix",
    "open_outbox",
]


def open_outbox(
    events: EventSettings | str,
    *,
    workspace_id: str = "",
    observer: Observer | None = None,
) -> Outbox:
    """Return the outbox that the settings name, without opening it.

    Args:
        events: The ``events`` settings, or only the outbox's address:
            ``sqlite:///relative.db``, ``sqlite:////absolute.db``,
            ``redis://host:6379/0`` or ``memory:``.
        workspace_id: The events' workspace: one Redis may hold those of several, a
            file has those of one.
        observer: Receives the counts of events.

    Raises:
        ValueError: It is no address of an outbox.
        TypeError: ``events`` is neither settings nor text.
    """
    if isinstance(events, str):
        events = EventSettings.model_validate({"outbox": events})
    if not isinstance(events, EventSettings):
        raise TypeError(
            f"events is of type {type(events).__name__}: write an address, as in "
            "open_outbox('sqlite:///moe.db')"
        )
    address = events.outbox
    if address.is_redis:
        from .redis.outbox import RedisOutbox

        return RedisOutbox(
            address.get_secret_value(),
            workspace_id=workspace_id,
            max_events=events.max_events,
            when_full=events.when_full,
            synchronous=events.synchronous,
            journal=journal_prefix(events, workspace_id),
            replicas=events.replicas,
            observer=observer or Observer(),
        )
    if address.file is not None:
        return SQLiteOutbox(
            address.file,
            workspace_id=workspace_id,
            synchronous=events.synchronous,
            max_events=events.max_events,
            when_full=events.when_full,
            journal=journal_prefix(events, workspace_id),
            observer=observer,
        )
    return MemoryOutbox(
        max_events=events.max_events, when_full=events.when_full, observer=observer
    )


def journal_prefix(events: EventSettings, workspace_id: str) -> str:
    """Return the prefix of the paths of an outbox's journals on this host."""
    address, folder = events.outbox, events.journal
    if address.file is not None and folder is None:
        return os.path.abspath(address.file)
    place = os.path.abspath(address.file) if address.file else str(address)
    workspace = "" if address.file else workspace_id
    digest = blake2b(f"{place} {workspace}".encode(), digest_size=4).hexdigest()
    return os.path.join(os.path.abspath(folder or "."), f"moe-outbox-{digest}")
