"""The events of a page: impressions after the response is sent, and clicks."""

from __future__ import annotations

import logging
from typing import Unpack, get_args

from ..cache.encoding import read_kept
from ..logs.log_lines import one_line
from ..models.events import Action, Event, EventDetails, platform_of, uuid_of
from ..models.experience import Experience, kept_context
from ..models.experiences import SENT, SHARED, Counting
from ..models.ids import new_id, new_ids
from ..models.plain_values import attributes_of, label_of, offset_of, text_of
from ..models.reasons import Reason
from ..visitors.page_views import is_prefetch
from .page_markup import PageMarkup

logger = logging.getLogger(__name__)

_MISTAKEN = frozenset(
    {Reason.NOT_REQUESTED, Reason.NO_REQUEST, Reason.NOT_READY, Reason.TOO_LATE}
)
"""Reasons that come from a mistake in the app, so that nothing can be counted."""


class Impressions(PageMarkup):
    """A page's impressions and clicks, as they become events."""

    # --- what is shown ---------------------------------------------------------

    def show(self, key: str, counting: Counting | None = None) -> Experience:
        found = self._found.get(key) if type(key) is str else None
        if isinstance(found, bytes) and self.phase is not SHARED:
            # The same as self[key] without its calls: every tag runs this.
            self.used = True
            elements = self._elements or self.elements
            experience = self._found[key] = read_kept(key, found, elements)
        else:
            experience = self[key]
        try:
            context: object = kept_context(experience)
        except AttributeError:
            context = experience.experience_context
        if not context or not self._counts:
            return experience
        key, shown = experience.key, self._shown
        if self.phase is SENT:
            self.advise("shown_too_late", key)
        elif shown is not None and key in shown:
            pass
        elif not (
            (counting is not None or self._may_be_watched)
            and self._is_watched(experience, counting)
        ):
            if shown is None:
                shown = self._shown = {}
            shown[key] = experience
        return experience

    def _is_watched(self, experience: Experience, counting: Counting | None) -> bool:
        """Whether the browser reports an impression, and the server does not."""
        key, elements = experience.key, self._elements
        if key in self._left_to_sdk:
            return True
        if elements is not None and elements.sight(key) is not None:
            return True
        wanted = self._counting_of(counting, key) if counting is not None else None
        if wanted is None and self._match is not None:
            wanted = self._match.impression
        if wanted in (None, "response") or key in self._tracked:
            return False
        # From now on a key may be what the browser reports.
        self._may_be_watched = True
        if wanted == "web_sdk":
            self._leave_to_sdk(experience)
            return True
        return self.elements.watch(key)

    def _counting_of(self, counting: object, key: str) -> Counting | None:
        name = text_of(counting)
        for one in get_args(Counting):
            if one == name:
                known: Counting = one
                return known
        self.advise("counting_unknown", key)
        return None

    @property
    def shown(self) -> tuple[Experience, ...]:
        shown = self._shown
        if not shown or not self._counts:
            return ()
        if self._tracked:
            return tuple([shown[key] for key in shown if key not in self._tracked])
        return (*shown.values(),)

    # --- what is recorded ------------------------------------------------------

    def record(self, status: int, now: float | None = None) -> None:
        """Make events of the impressions, after the last byte was sent.

        Failures cannot affect the response any more.

        Args:
            status: The response's.
            now: The time, in unix seconds; None reads the clock.
        """
        visitor = self._visitor
        if not self._shown or not self._counts or visitor is None:
            return
        # Most pages track nothing, and need no second list.
        shown = self.shown if self._tracked else self._shown.values()
        try:
            # The page must have been seen, by a visitor with an id.
            engine, visit = self._engine, self._visit or self.visit
            if (
                visitor.reporting_id is None
                or not (200 <= status < 300 or status == 304)
                or visit.method == "HEAD"
                or (engine.personalizes_bots and engine.visitors.is_bot(visit))
                or is_prefetch(visit)
            ):
                return
            trace = engine.trace
            bodies = engine.impressions.encode(
                shown,
                visitor.reporting_id,
                int(engine.clock() if now is None else now),
                new_ids(len(shown)),
                None if trace is None else trace(),
            )
            engine.outbox.append_encoded(visitor.reporting_id, bodies)
        except Exception as error:
            self._failed("record_failed", error)

    # --- what is tracked -------------------------------------------------------

    def track_impression(self, key: str, **details: Unpack[EventDetails]) -> str | None:
        experience = self._trackable(key)
        if experience is None or experience.key in self._tracked:
            return None
        # If the browser may report it, too, both use the same uuid.
        if sight := self.elements.sight(experience.key):
            details["uuid"] = sight
        uuid = self._track(Action.IMPRESSION, experience, None, **details)
        if uuid is not None:
            # Only now: one that was refused may be tracked again.
            self._tracked |= {experience.key}
        return uuid

    def track_click(
        self, key: str, b_id: str | None = None, **details: Unpack[EventDetails]
    ) -> str | None:
        experience = self._trackable(key)
        if experience is None:
            return None
        return self._track(Action.CLICK, experience, b_id, **details)

    def _trackable(self, key: str) -> Experience | None:
        """Return a key's experience if an event of it can be counted."""
        experience = self[key]
        if not self._counts:
            return None
        if not experience.experience_context:
            if experience.reason in _MISTAKEN:
                self.advise("track_ignored", experience.key, experience.reason)
            return None
        if experience.key in self._left_to_sdk or self._reporting_id is None:
            return None
        return experience

    def _track(
        self,
        action: Action,
        experience: Experience,
        b_id: object,
        *,
        user_attributes: object = None,
        user_timezone_offset: object = None,
        platform: object = None,
        uuid: object = None,
    ) -> str | None:
        engine, reporting_id = self._engine, self._reporting_id
        assert reporting_id is not None
        events = engine.settings.events
        try:
            attributes = attributes_of(user_attributes)
            label = label_of(b_id)
            offset = offset_of(user_timezone_offset)
            given_platform = platform_of(platform)
            given_uuid = uuid_of(uuid)
        except ValueError as error:
            logger.warning(
                "event_refused key=%s: %s: %s", one_line(experience.key), error, _PLAIN
            )
            return None
        try:
            event = Event(
                uuid=given_uuid or new_id(),
                customer_id=reporting_id,
                action=action,
                occurred_at=int(engine.clock()),
                experience_context=experience.experience_context,
                platform=given_platform or events.platform,
                b_id=label,
                trace=None if engine.trace is None else engine.trace(),
                user_attributes=attributes,
                user_timezone_offset=(
                    events.user_timezone_offset if offset is None else offset
                ),
            )
            engine.outbox.append([event])
        except Exception as error:
            self._failed("record_failed", error)
            return None
        return event.uuid


_PLAIN = (
    "user_attributes take texts, numbers, booleans, lists and dicts of them; platform "
    "takes web, android, ios or tv, and uuid one of version 4"
)
