"""Takes the Web SDK's device id from a page, where no cookie of the SDK's tells it."""

from __future__ import annotations

import logging

from ..logs.repeated_lines import RepeatLogger
from ..models.visits import Visit
from ..visitors.ids import DEVICE_COOKIE, device_id, visitor_cookie
from ..visitors.visitors import Visitors
from .endpoints import NEVER_KEPT, Reply, is_own_site, refused

logger = logging.getLogger(__name__)

DEVICES = "d"
"""Where it is handed over, below ``clicks.path``."""

MAX_BODY = 36
"""Bytes; as many as a uuid has letters."""


class Devices:
    """Keeps a device id in a cookie, for the next pages to be fetched with.

    It is the visitor's own word, as the SDK's cookie is; pages of other sites can put
    no word in, and a visitor without consent has none taken.

    Args:
        visitors: Tells who hands it over.
        max_age: How long browsers keep it, in seconds.
    """

    def __init__(self, visitors: Visitors, *, max_age: int) -> None:
        self._visitors = visitors
        self._logger = RepeatLogger(logger)
        self._max_age = max_age

    async def take(self, visit: Visit, rest: str, body: bytes) -> Reply:
        """Set the cookie, where the request has no device id yet."""
        if not is_own_site(visit):
            return await self._refused(403, "other_site", visit)
        told = device_id(body.decode("latin-1"))
        if told is None:
            return await self._refused(400, "malformed", visit)
        headers = [*NEVER_KEPT]
        if (
            not self._visitors.is_bot(visit)
            and await self._visitors.consent(visit)
            and await self._visitors.wants_device_id(visit)
        ):
            secure = self._visitors.is_https(visit)
            cookie = visitor_cookie(
                DEVICE_COOKIE, told, max_age=self._max_age, secure=secure
            )
            headers.append((b"set-cookie", cookie.encode()))
        return Reply(204, headers)

    async def _refused(self, status: int, reason: str, visit: Visit) -> Reply:
        who = await self._visitors.log_name(visit)
        self._logger.log(logging.WARNING, "device_refused reason=%s", reason, who=who)
        return refused(status, reason)
