"""The events of ``track``: impressions and clicks, through the outbox."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from concurrent.futures import Future
from typing import Any

from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import OpenFeatureError

from ..client.event_reports import ACTION_NAMES
from ..concurrency.background_loop import background
from ..logs.log_lines import one_line
from ..models.events import Action, Event
from ..models.experiences import Experiences
from ..models.ids import new_id
from ..models.plain_values import label_of
from ..personalizer.current import on_event_loop
from ..personalizer.open_runtimes import Door
from .customers import Customers, customer_of
from .flags import Flag

logger = logging.getLogger(__name__)

ACTIONS = {
    **{str(action): action for action in Action},
    **{name: action for action, name in ACTION_NAMES.items()},
}

MAX_LOGGED = 100
"""Names of events that are logged, once each."""

_OTHERS = (
    "MoEngage's API takes the events 'impression' and 'click' of an experience, with "
    'its key in the details: TrackingEventDetails(attributes={"key": ...})'
)


class Tracking:
    """Makes events of an app's calls of ``track``.

    Args:
        door: The provider, whose runtime tests exchange.
        customers: Answers outside of requests.
    """

    def __init__(self, door: Door, customers: Customers) -> None:
        self._door = door
        self._customers = customers
        self._logged: set[str] = set()
        self._under_way: set[Future[None]] = set()

    def track(
        self,
        name: str,
        attributes: Mapping[str, Any],
        context: EvaluationContext | None,
        page: Experiences | None,
    ) -> None:
        """Report an event; an unknown name is logged, once.

        Args:
            context: Names the customer, outside of a request.
            page: The request's experiences; None outside.
        """
        action, key = ACTIONS.get(name), attributes.get("key")
        if action is None or not isinstance(key, str) or not key:
            if name not in self._logged and len(self._logged) < MAX_LOGGED:
                self._logged.add(name)
                given = one_line(name)
                logger.warning("track_ignored_event name=%s: %s", given, _OTHERS)
            return
        b_id = attributes.get("b_id")
        if page is None:
            self._run(self._report(action, key, b_id, context))
            return
        found = Flag.of(key, {*page, *self._customers.keys}).key
        if action is Action.CLICK:
            page.track_click(found, b_id)
        else:
            page.track_impression(found)

    async def end(self) -> None:
        """Wait for the events that are being made."""
        waiting = [asyncio.wrap_future(one) for one in list(self._under_way)]
        await asyncio.gather(*waiting, return_exceptions=True)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        # From now on a relay delivers.
        self._door.runtime.start_in_background()
        sent = asyncio.run_coroutine_threadsafe(work, background.loop)
        self._under_way.add(sent)
        sent.add_done_callback(self._under_way.discard)
        if not on_event_loop():
            # A script may end at once: the event is stored first.
            sent.result()

    async def _report(
        self, action: Action, key: str, b_id: object, context: EvaluationContext | None
    ) -> None:
        runtime = self._door.runtime
        try:
            flag = Flag.of(key, self._customers.keys)
            found = await self._customers.ask(flag.key, context)
            if not found.experience_context:
                logger.info(
                    "track_without_match key=%s reason=%s",
                    *(one_line(flag.key), found.reason),
                )
                return
            events, customer_id = runtime.settings.events, customer_of(context)
            assert customer_id is not None
            event = Event(
                uuid=new_id(),
                customer_id=customer_id,
                action=action,
                occurred_at=int(runtime.personalizer.clock()),
                experience_context=found.experience_context,
                platform=events.platform,
                b_id=label_of(b_id) if action is Action.CLICK else None,
                user_timezone_offset=events.user_timezone_offset,
            )
            runtime.outbox.append([event])
        except OpenFeatureError as error:
            logger.warning("track_refused: %s", error.error_message)
        except Exception as error:
            logger.error("track_failed error=%s", type(error).__name__)
