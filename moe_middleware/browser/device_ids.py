"""Receives the Web SDK's device id from a page, if no cookie has it."""

from __future__ import annotations

import logging

from ..logs.repeated_lines import RepeatLogger
from ..models.visits import Visit
from ..visitors.ids import DEVICE_COOKIE, device_id
from ..visitors.visitors import Visitors
from .endpoints import NEVER_KEPT, Reply, is_own_site, refused, set_cookie

logger = logging.getLogger(__name__)

DEVICES = "d"
"""The path of the endpoint below ``clicks.path``."""

MAX_BODY = 36
"""The longest body, in bytes: the letters of a uuid."""


class Devices:
    """Keeps a device id in a cookie, for the fetches of the next pages.

    The visitor chooses it, as with the SDK's cookie. Without the visitor's consent it
    is not kept.

    Args:
        visitors: Identifies the visitor.
        max_age: Seconds that browsers keep it.
    """

    def __init__(self, visitors: Visitors, *, max_age: int) -> None:
        self._visitors = visitors
        self._logger = RepeatLogger(logger)
        self._max_age = max_age

    async def take(self, visit: Visit, rest: str, body: bytes) -> Reply:
        """Set the cookie, if the request has no device id yet."""
        # A page of another site could make its visitor somebody else.
        if not is_own_site(visit):
            return await self._refused(403, "other_site", visit)
        received = device_id(body.decode("latin-1"))
        if received is None:
            return await self._refused(400, "malformed", visit)
        headers = [*NEVER_KEPT]
        if (
            not self._visitors.is_bot(visit)
            and await self._visitors.consent(visit)
            and await self._visitors.wants_device_id(visit)
        ):
            headers += set_cookie(
                self._visitors, visit, DEVICE_COOKIE, received, self._max_age
            )
        return Reply(204, headers)

    async def _refused(self, status: int, reason: str, visit: Visit) -> Reply:
        who = await self._visitors.log_name(visit)
        self._logger.log(logging.WARNING, "device_refused reason=%s", reason, who=who)
        return refused(status, reason)
