"""Deviations from the newest documents that the sandbox accepts.

``strict`` refuses all of them, a switch each one. Accepted ones are noted, in the log
and on the overview, so that a site learns of them before MoEngage refuses them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection
from enum import StrEnum
from typing import Any

from ..workspace.workspace import Workspace

logger = logging.getLogger(__name__)


class Leniency(StrEnum):
    """A kind of deviation from the newest documents."""

    FLAT_CUSTOMER_ID = "flat_customer_id"
    FLAT_VISITOR_ID = "flat_visitor_id"
    TEXT_EXPERIENCE_KEY = "text_experience_key"
    OTHER_CONTENT_TYPE = "other_content_type"
    UNKNOWN_FIELD = "unknown_field"
    NO_UUID_V4 = "no_uuid_v4"
    ISO_EVENT_TIME = "iso_event_time"
    MILLISECOND_EVENT_TIME = "millisecond_event_time"
    UNKNOWN_PLATFORM = "unknown_platform"
    OTHER_TYPE = "other_type"
    EMPTY_ATTRIBUTE = "empty_attribute"


ADVICE: dict[Leniency, str] = {
    Leniency.FLAT_CUSTOMER_ID: (
        "a fetch has customer_id or user_id at its top level: "
        "send identifiers.customer_id"
    ),
    Leniency.FLAT_VISITOR_ID: (
        "a fetch has visitor_id, which only older documents know: send "
        "identifiers.customer_id, or expect no A/B split of anonymous visitors"
    ),
    Leniency.TEXT_EXPERIENCE_KEY: (
        "experience_key is one text: send a list, even of one key"
    ),
    Leniency.OTHER_CONTENT_TYPE: (
        "a body has another Content-Type, or none: send application/json"
    ),
    Leniency.UNKNOWN_FIELD: (
        "a call has a field that the documents do not list: look for a misspelled name"
    ),
    Leniency.NO_UUID_V4: (
        "moe_event_uuid is no UUID of version 4: make one for each event"
    ),
    Leniency.ISO_EVENT_TIME: "event_time is a text: send whole unix seconds",
    Leniency.MILLISECOND_EVENT_TIME: (
        "event_time is in milliseconds: divide it by 1,000"
    ),
    Leniency.UNKNOWN_PLATFORM: (
        "platform is missing or unknown: send web, android, ios or tv"
    ),
    Leniency.OTHER_TYPE: (
        "attributes.type is not 'Web Personalization': send the experience_context "
        "back as it came"
    ),
    Leniency.EMPTY_ATTRIBUTE: (
        "a required attribute is empty: send the experience_context back as it came"
    ),
}
"""The deviation and the right form, by kind."""


_LEVELS = {Leniency.FLAT_VISITOR_ID: logging.DEBUG}
"""Our own client sends it for every anonymous visitor, so it is no mistake of a site.
Frameworks such as Litestar print all lines from info on."""


class Reading:
    """The reading of one call: the deviations it may not have, and those it had."""

    __slots__ = ("_refused", "used")

    def __init__(self, refused: Collection[Leniency] = ()) -> None:
        self._refused = refused
        self.used: set[Leniency] = set()

    def refuses(self, leniency: Leniency) -> bool:
        """Whether the call may not deviate in this way."""
        return leniency in self._refused

    def note(self, leniency: Leniency) -> None:
        """Note that the call deviates in this way."""
        self.used.add(leniency)

    def allows(self, leniency: Leniency) -> bool:
        """Whether the call may deviate in this way; note that it does."""
        if self.refuses(leniency):
            return False
        self.note(leniency)
        return True


def reading_of(workspace: Workspace) -> Reading:
    """Return a new reading for a call to a workspace."""
    if workspace.strict:
        # It has every kind as a key.
        return Reading(ADVICE)
    refused: set[Leniency] = set()
    if not workspace.flat_ids:
        refused |= {Leniency.FLAT_CUSTOMER_ID, Leniency.FLAT_VISITOR_ID}
    if not workspace.iso_event_time:
        refused.add(Leniency.ISO_EVENT_TIME)
    if not workspace.millisecond_event_time:
        refused.add(Leniency.MILLISECOND_EVENT_TIME)
    if workspace.strict_platform:
        refused.add(Leniency.UNKNOWN_PLATFORM)
    return Reading(refused)


class Leniencies:
    """The deviations since the start or the last reset. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # The number of calls, and the time of the last one.
        self._noted: dict[Leniency, tuple[int, float]] = {}

    def add(self, used: Collection[Leniency], at: float) -> None:
        """Note a call's deviations; log a warning at the first of each kind."""
        for leniency in used:
            with self._lock:
                calls, _ = self._noted.get(leniency, (0, at))
                self._noted[leniency] = calls + 1, at
            if not calls:
                logger.log(
                    _LEVELS.get(leniency, logging.WARNING),
                    "lenient_reading kind=%s: %s; strict refuses it",
                    leniency,
                    ADVICE[leniency],
                )

    def as_documents(self) -> list[dict[str, Any]]:
        """Return them as JSON values, the latest first."""
        with self._lock:
            noted = sorted(self._noted.items(), key=lambda one: -one[1][1])
        return [
            {"kind": kind, "calls": calls, "last_at": at, "advice": ADVICE[kind]}
            for kind, (calls, at) in noted
        ]

    def clear(self) -> None:
        """Forget all of them; the log warns again."""
        with self._lock:
            self._noted.clear()
