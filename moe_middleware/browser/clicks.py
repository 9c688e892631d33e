"""Serves click links: counts the click, then redirects to the link's target."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..logs.repeated_lines import RepeatLogger
from ..models.events import Action
from ..models.visits import Visit
from ..visitors.page_views import is_prefetch
from ..visitors.visitors import Visitors
from .click_links import Click, ClickLinks
from .endpoints import PLAIN_TEXT, Reply, redirect, refused
from .reported_events import ReportedEvents

logger = logging.getLogger(__name__)

METHODS = ("GET", "HEAD")


class Clicks:
    """Counts a visitor's first click on each link of their own pages, and redirects.

    A link that is followed twice counts once: its event has the link's own uuid. A link
    that was passed on redirects without counting, and so does one that a bot or a
    browser's prefetch follows.

    Args:
        links: Reads the links.
        visitors: Identifies the visitor.
        events: Makes and stores the events.
        clock: The time, in unix seconds.
    """

    def __init__(
        self,
        links: ClickLinks,
        visitors: Visitors,
        events: ReportedEvents,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._links = links
        self._visitors = visitors
        self._events = events
        self._clock = clock
        self._logger = RepeatLogger(logger)

    async def follow(self, visit: Visit, token: str, body: bytes) -> Reply:
        """Store the event of a click, and redirect."""
        click = self._links.read(token)
        # The hosts may have changed since the link was made.
        if click is None or not self._links.may_lead_to(click.target):
            who = await self._visitors.log_name(visit)
            self._logger.log(logging.WARNING, "click_refused reason=not_ours", who=who)
            return refused(404, "this link is not valid")
        try:
            await self._count(click, visit)
        except Exception as error:
            # The redirect works even if counting fails.
            who = await self._visitors.log_name(visit)
            logger.error("click_failed error=%s%s", type(error).__name__, who)
        return redirect(click.target, PLAIN_TEXT)

    async def _count(self, click: Click, visit: Visit) -> None:
        now = self._clock()
        # A HEAD is a look at the link, as of a mail scanner.
        if (
            visit.method != "GET"
            or now > click.token.expires_at
            or self._visitors.is_bot(visit)
            or is_prefetch(visit)
        ):
            return
        known_as = await self._visitors.known_as(visit)
        # Somebody who was sent the link gets there, but the click is not theirs.
        owners = [one for one in known_as if self._links.is_of(click, one)]
        if not owners:
            return
        event = self._events.make(
            Action.CLICK,
            uuid=click.uuid,
            visitor=owners[0],
            now=now,
            context=click.experience_context,
            b_id=click.b_id,
        )
        if (error := await self._events.store([event])) is not None:
            who = self._visitors.log_names.of(event.customer_id)
            logger.warning("click_not_stored_yet error=%s%s", type(error).__name__, who)
