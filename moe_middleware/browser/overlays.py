"""The overlay's endpoints: opens and closes it, and switches variations."""

from __future__ import annotations

import logging
from collections.abc import Callable
from urllib.parse import parse_qsl

from ..logs.repeated_lines import RepeatLogger
from ..models.texts import Headers
from ..models.urls import leads_to
from ..models.visits import Visit
from ..visitors.visitors import Visitors
from .endpoints import (
    Reply,
    asset_handler,
    is_own_site,
    redirect,
    refused,
    set_cookie,
)
from .overlay_access import COOKIE, OverlayAccess
from .overlay_element import overlay_script
from .preview_links import Preview, PreviewLinks, Refusal
from .previews import Previews
from .sandbox_variations import variation_payload

logger = logging.getLogger(__name__)

METHODS = ("GET", "HEAD", "POST")

SWITCH = "switch"
LEAVE = "leave"

MAX_BODY = 16 * 1024
"""The largest form, in bytes: a key, a variation's name and a path."""

PREVIEW_LASTS = 3_600
"""How long a switched variation is shown, in seconds."""

_FIELDS = 3


class Overlays:
    """Turns the overlay on and off for one browser, and shows it other variations.

    Args:
        access: Decides who has the overlay.
        links: Makes the previews of variations; None without a secret key.
        previews: Opens and closes them.
        visitors: Identifies the visitor, for the templates in a payload.
        has_variations: Whether the embedded sandbox is there to switch variations.
        clock: The time, in unix seconds.
    """

    def __init__(
        self,
        access: OverlayAccess,
        links: PreviewLinks | None,
        previews: Previews,
        visitors: Visitors,
        *,
        has_variations: bool,
        clock: Callable[[], float],
    ) -> None:
        self._access = access
        self._links = links if has_variations else None
        self._previews = previews
        self._visitors = visitors
        self._clock = clock
        self._script = asset_handler(
            overlay_script()[1], b"text/javascript", b"private"
        )
        self._logger = RepeatLogger(logger)

    async def script(self, visit: Visit, rest: str, body: bytes) -> Reply:
        """Return the script, to browsers that have the overlay."""
        if not self._access.allows(visit):
            return refused(404, "not found")
        return await self._script(visit, rest, body)

    async def answer(self, visit: Visit, rest: str, body: bytes) -> Reply:
        """Turn the overlay on or off, or switch a variation."""
        who = await self._visitors.log_name(visit)
        if visit.method != "POST":
            return self._open(visit, rest, who)
        if rest not in (SWITCH, LEAVE):
            return self._refused(404, "unknown", who)
        if not self._access.allows(visit):
            return self._refused(404, "no_link", who)
        if not is_own_site(visit):
            return self._refused(403, "other_site", who)
        try:
            form = dict(parse_qsl(body.decode(), max_num_fields=_FIELDS))
        except ValueError:
            return self._refused(400, "malformed", who)
        back = form.get("back", "/")
        if not leads_to(back):
            return self._refused(400, "malformed", who)
        if rest == LEAVE:
            logger.info("overlay_left by=form%s", who)
            return redirect(back, self._cookie(visit, "", 0))
        if not form.get("variation"):
            return self._previews.leave(visit, who, back)
        return await self._switch(
            visit, form.get("key", ""), form["variation"], back, who
        )

    def _open(self, visit: Visit, token: str, who: str) -> Reply:
        links = self._access.links
        found = links.read(token) if links is not None else Refusal.NOT_OURS
        if isinstance(found, Refusal):
            status, about = _REFUSED[found]
            return self._refused(status, found, who, about)
        target, expires_at = found
        # A look at the headers, as of a mail scanner, opens nothing.
        if visit.method == "HEAD":
            return redirect(target)
        logger.info("overlay_opened by=link%s", who)
        # A Max-Age of 0 would delete the cookie.
        max_age = max(1, int(expires_at - self._clock()))
        return redirect(target, self._cookie(visit, token, max_age))

    async def _switch(
        self, visit: Visit, key: str, variation: str, back: str, who: str
    ) -> Reply:
        if self._links is None:
            return self._refused(404, "no_variations", who)
        known_as = await self._visitors.known_as(visit)
        customer_id = known_as[0].customer_id if known_as else None
        try:
            payload = variation_payload(key, variation, customer_id)
            if payload is None:
                return self._refused(404, "unknown", who)
            expires_at = int(self._clock()) + PREVIEW_LASTS
            preview = Preview(key, variation, payload, back, expires_at)
            link = self._links.make(preview)
        except ValueError as error:
            return refused(409, f"this variation cannot be shown: {error}")
        return self._previews.open(visit, link.rpartition("/")[2], who)

    def _refused(
        self, status: int, reason: str, who: str, about: str = "not found"
    ) -> Reply:
        self._logger.log(logging.WARNING, "overlay_refused reason=%s", reason, who=who)
        return refused(status, about)

    def _cookie(self, visit: Visit, token: str, max_age: int) -> Headers:
        return set_cookie(self._visitors, visit, COOKIE, token, max_age)


_REFUSED = {
    Refusal.NOT_OURS: (404, "this link is not valid"),
    Refusal.EXPIRED: (410, "this link has expired: ask for a new one"),
}
