"""The events that browsers report: a click link is followed, a beacon is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..models.errors import OutboxError
from ..models.events import Action, Event
from ..models.identity import Identity
from ..outbox import Outbox
from ..settings.sections import EventSettings

STORE_WITHIN = 0.25
"""Seconds that a response waits for its events to be stored. Slower events are stored
afterwards."""


class ReportedEvents:
    """Makes and stores them.

    Args:
        outbox: The outbox.
        settings: The settings ``events``.
        trace: Returns the trace of the current request; None if events keep none.
    """

    def __init__(
        self,
        outbox: Outbox,
        settings: EventSettings,
        trace: Callable[[], str | None] | None = None,
    ) -> None:
        self._outbox = outbox
        self._settings = settings
        self._trace = trace

    def make(
        self,
        action: Action,
        *,
        uuid: str,
        visitor: Identity,
        now: float,
        context: Mapping[str, Any],
        b_id: str | None,
    ) -> Event:
        """Return the event of a visitor with an id; ``now`` in unix seconds."""
        return Event(
            uuid=uuid,
            customer_id=str(visitor.reporting_id),
            action=action,
            occurred_at=int(now),
            experience_context=context,
            platform=self._settings.platform,
            b_id=b_id,
            user_timezone_offset=self._settings.user_timezone_offset,
            trace=None if self._trace is None else self._trace(),
        )

    async def store(self, events: Sequence[Event]) -> OutboxError | TimeoutError | None:
        """Append events; return the error if they are not stored in time."""
        # Stored before the response leaves: the process may end right after it.
        self._outbox.append(events)
        try:
            async with asyncio.timeout(STORE_WITHIN):
                await self._outbox.flush()
        except (OutboxError, TimeoutError) as error:
            return error
        return None
