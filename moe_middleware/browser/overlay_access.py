"""Which requests get the overlay: by a signed link's cookie, or all in development."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..models.urls import leads_to
from ..models.visits import Visit
from ..visitors.page_views import is_asset
from .html_endings import is_page_load
from .preview_links import Refusal
from .tokens import Tokens

PURPOSE = "overlay"

OVERLAY = "o"
"""The path of the overlay's endpoints below ``clicks.path``."""

COOKIE = "moe_overlay"
"""The cookie of a browser that opened a link, until it expires."""


class OverlayLinks:
    """Makes and reads the links that turn the overlay on for one browser.

    Args:
        secrets: The secret keys, the newest first.
        path: The path of the overlay, as in ``/_moe/o/``.
        clock: The time, in unix seconds.
    """

    def __init__(
        self, secrets: Sequence[str], *, path: str, clock: Callable[[], float]
    ) -> None:
        self._tokens = Tokens(secrets, PURPOSE, fields=2)
        self._path = path
        self._clock = clock

    def make(self, target: str, expires_at: int) -> str:
        """Return a link that turns the overlay on.

        Args:
            target: The page to open, a path of this site.
            expires_at: The end of the link and of its cookie, in unix seconds.

        Raises:
            ValueError: The target is on another site.
        """
        if not leads_to(target):
            raise ValueError(f"{target!r} is no path of a site: begin with '/'")
        return self._path + self._tokens.make([target, expires_at])

    def read(self, token: str) -> tuple[str, int] | Refusal:
        """Return a token's target and expiry, or the reason why it opens nothing."""
        read = self._tokens.read(token)
        if read is None:
            return Refusal.NOT_OURS
        target, expires_at = read[1]
        if self._clock() >= expires_at:
            return Refusal.EXPIRED
        return target, expires_at


class OverlayAccess:
    """Decides which requests get the overlay, and which pages show it.

    Args:
        links: Reads the cookies; None without a secret key.
        for_all: Whether every browser gets it, as in development.
    """

    def __init__(self, links: OverlayLinks | None, *, for_all: bool) -> None:
        self.links = links
        self.for_all = for_all

    def allows(self, visit: Visit) -> bool:
        """Whether the browser of a request gets the overlay."""
        return self.for_all or self.has_link(visit)

    def has_link(self, visit: Visit) -> bool:
        """Whether the browser of a request has opened a link that still works."""
        if self.links is None or (token := visit.cookie(COOKIE)) is None:
            return False
        return not isinstance(self.links.read(token), Refusal)

    def shows_on(self, visit: Visit) -> bool:
        """Whether the response to a request shows it, if that is an HTML page."""
        return _is_of_a_page(visit) and self.allows(visit)


def _is_of_a_page(visit: Visit) -> bool:
    """Whether a request may be for a whole page, in a window of its own."""
    if visit.method == "HEAD" or visit.header("range") is not None:
        return False
    match visit.header("sec-fetch-dest"):
        case "document":
            return True
        # A script asks for a part of a page, but for Turbo and htmx, which may replace
        # the whole one.
        case "empty":
            accepted = visit.header("accept") or ""
            whole = visit.header("turbo-frame") is None and "text/html" in accepted
            return whole or visit.header("hx-boosted") is not None
        case None:
            return is_page_load(visit) and not is_asset(visit)
        case _:
            return False
