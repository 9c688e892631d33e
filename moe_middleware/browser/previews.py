"""Opens and closes previews for QA."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..logs.repeated_lines import RepeatLogger
from ..models.texts import Headers
from ..models.urls import mounted_at
from ..models.visits import Visit
from ..visitors.visitors import Visitors
from .endpoints import Reply, asset_handler, redirect, refused, set_cookie
from .preview_links import (
    COOKIE,
    LEAVE,
    STYLE,
    STYLE_NAME,
    Preview,
    PreviewLinks,
    Refusal,
)

logger = logging.getLogger(__name__)

METHODS = ("GET", "HEAD")


class Previews:
    """Sets the cookie of a preview for a browser that opens its link, and clears it.

    Args:
        links: Reads the links; None without a secret key, so that all are refused.
        visitors: Knows whether a browser's connection is encrypted.
        clock: The time, in unix seconds.
    """

    def __init__(
        self,
        links: PreviewLinks | None,
        visitors: Visitors,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._links = links
        self._visitors = visitors
        self._clock = clock
        self._logger = RepeatLogger(logger)

    async def answer(self, visit: Visit, token: str, body: bytes) -> Reply:
        """Open the preview of a token, or close the open one."""
        if token == STYLE_NAME:
            return await _style(visit, token, body)
        who = await self._visitors.log_name(visit)
        if token == LEAVE:
            return self.leave(visit, who)
        return self.open(visit, token, who)

    def open(self, visit: Visit, token: str, who: str) -> Reply:
        """Open the preview of a token.

        Args:
            visit: The request.
            token: The rest of its path.
            who: The end of its log line.
        """
        if self._links is None:
            self._logger.log(
                logging.WARNING, "preview_refused reason=no_secret_key", who=who
            )
            return refused(404, "previews need a secret_key in the settings")
        preview = self._links.read(token)
        if isinstance(preview, Refusal):
            self._logger.log(
                logging.WARNING, "preview_refused reason=%s", preview, who=who
            )
            return _REFUSED[preview]
        # A look at the headers, as of a mail scanner, opens nothing.
        if visit.method == "HEAD":
            return redirect(preview.target)
        logger.info(
            "preview_opened key=%s variation=%s%s", preview.key, preview.variation, who
        )
        # A Max-Age of 0 would delete the cookie.
        max_age = max(1, int(preview.expires_at - self._clock()))
        return redirect(preview.target, self._cookie(visit, token, max_age))

    def leave(self, visit: Visit, who: str, target: str | None = None) -> Reply:
        """Close the open preview, if there is one.

        Args:
            visit: The request.
            who: The end of its log line.
            target: The page to show next; None takes the one that the link opened.
        """
        token, home = visit.cookie(COOKIE), f"{mounted_at(visit.root_path)}/"
        if token is None or visit.method == "HEAD":
            return redirect(target or home)
        preview = self._links.read(token) if self._links is not None else None
        if isinstance(preview, Preview):
            target = target or preview.target
            logger.info("preview_left key=%s%s", preview.key, who)
        return redirect(target or home, self._cookie(visit, "", 0))

    def _cookie(self, visit: Visit, token: str, max_age: int) -> Headers:
        return set_cookie(self._visitors, visit, COOKIE, token, max_age)


_REFUSED = {
    Refusal.NOT_OURS: refused(404, "this preview link is not valid"),
    Refusal.EXPIRED: refused(410, "this preview has expired: ask for a new link"),
}


_style = asset_handler(STYLE, b"text/css")
