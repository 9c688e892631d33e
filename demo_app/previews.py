"""Links to other variations and to the overlay, as ``moe-middleware`` makes them.

On a real site they are for QA and developers; here each visitor gets them, to try them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from moe_middleware import Settings
from moe_middleware.browser.overlay_access import OVERLAY, OverlayLinks
from moe_middleware.browser.preview_links import PREVIEWS
from moe_middleware.browser.sandbox_variations import variation_names, variation_payload
from moe_middleware.preview_links import Preview, PreviewLinks

LASTS = 3600
"""How long a link works, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """A variation that can be looked at.

    Attributes:
        name: As ``moe-middleware preview --variation`` takes it.
        link: Opens it.
    """

    name: str
    link: str


class PreviewDesk:
    """Offers, for each experience, the variation after the one that is shown.

    Args:
        settings: Their ``secret_key`` signs the links.
    """

    def __init__(self, settings: Settings) -> None:
        secrets = [secret.get_secret_value() for secret in settings.secret_key or ()]
        own = settings.clicks.path
        self._links = PreviewLinks(secrets, path=f"{own}/{PREVIEWS}/", clock=time.time)
        self._overlays = OverlayLinks(
            secrets, path=f"{own}/{OVERLAY}/", clock=time.time
        )

    def opened(self, cookie: str | None) -> Preview | None:
        """Return the preview that a browser has open, if it has one."""
        preview = self._links.read(cookie) if cookie else None
        return preview if isinstance(preview, Preview) else None

    def overlay(self, back: str) -> str | None:
        """Return a link that turns the overlay on; None for an address too long."""
        try:
            return self._overlays.make(back, int(time.time()) + LASTS)
        except ValueError:
            return None

    def offer(self, key: str, shown: str, who: str, back: str) -> Offered | None:
        """Return a link to an experience's next variation; None where it has one only.

        Behind the last one, the first is next.

        Args:
            key: The experience.
            shown: The variation on the page, as ``AUDIENCE/ID``; what is none of them
                comes before the first.
            who: The customer whose attributes its templates are rendered with.
            back: The page to see it on.
        """
        names = variation_names(key)
        after = names.index(shown) + 1 if shown in names else 0
        name = (names[after:] or names or [shown])[0]
        if name == shown:
            return None
        try:
            payload = variation_payload(key, name, who) or {}
            preview = Preview(key, name, payload, back, int(time.time()) + LASTS)
            return Offered(name=name, link=self._links.make(preview))
        except ValueError:
            # Its templates withhold it, or it does not fit into a cookie.
            return None
