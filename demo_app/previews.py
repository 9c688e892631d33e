"""Links to other variations and to the overlay, as ``moe-middleware`` makes them.

On a real site they are for QA and developers; here each visitor gets them, to try them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from moe_middleware import Settings
from moe_middleware.browser.overlay_access import OVERLAY, OverlayLinks
from moe_middleware.browser.preview_links import PREVIEWS
from moe_middleware.preview_links import Preview, PreviewLinks
from moe_middleware.sandbox import Sandbox
from moe_middleware.sandbox.decisions.variations import (
    attributes_of,
    values_of,
    variations_of,
)
from moe_middleware.sandbox.workspace.template_worker import Withheld

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
        settings: Whose ``secret_key`` signs the links.
        sandbox: Has the variations.
    """

    def __init__(self, settings: Settings, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        secrets = [secret.get_secret_value() for secret in settings.secret_key or ()]
        own = settings.clicks.path
        self._links = PreviewLinks(secrets, path=f"{own}/{PREVIEWS}/")
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
        workspace = self._sandbox.workspace
        names = variations_of(workspace, key)
        order = [*names]
        after = order.index(shown) + 1 if shown in names else 0
        name = (order[after:] or order or [""])[0]
        if name in ("", shown):
            return None
        try:
            payload = values_of(names[name], attributes_of(workspace, who))
            preview = Preview(key, name, payload, back, int(time.time()) + LASTS)
            link = self._links.make(preview)
        except (Withheld, ValueError):
            # Its templates withhold it, or it does not fit into a cookie.
            return None
        return Offered(name=name, link=link)
