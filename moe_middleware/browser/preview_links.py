"""Links that show one payload to everyone who has them, until they expire. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Any

from markupsafe import Markup

from ..models.experience import Experience
from ..models.reasons import Source
from ..models.urls import leads_to
from .tokens import Tokens, TokenTooLongError

PURPOSE = "preview"

PREVIEWS = "p"
"""The path of previews below ``clicks.path``."""

LEAVE = "leave"

COOKIE = "moe_preview"
"""The cookie that keeps an open preview until it expires."""

MAX_PREVIEW = 3_800
"""The longest token: browsers keep cookies of at most 4,096 bytes, with their names and
attributes."""


@dataclass(frozen=True, slots=True)
class Preview:
    """The content of a preview link.

    Attributes:
        key: The experience key.
        variation: Its variation, as the link's author calls it.
        payload: The forced content.
        target: The page to open it on, a path of this site.
        expires_at: The end of the preview, in unix seconds.
    """

    key: str
    variation: str
    payload: Mapping[str, Any]
    target: str
    expires_at: int

    @property
    def experience(self) -> Experience:
        """The experience for the key; without a context nothing is counted."""
        return Experience(key=self.key, payload=self.payload, source=Source.PREVIEW)


class Refusal(StrEnum):
    """The reason why a token shows nothing."""

    NOT_OURS = "not_ours"
    EXPIRED = "expired"


class PreviewLinks:
    """Makes and reads preview links.

    Args:
        secrets: The secret keys, the newest first.
        path: The path of previews, as in ``/_moe/p/``.
        clock: The time, in unix seconds.
    """

    def __init__(
        self,
        secrets: Sequence[str],
        *,
        path: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._tokens = Tokens(secrets, PURPOSE, fields=5, max_length=MAX_PREVIEW)
        self._path = path
        self._clock = clock

    def make(self, preview: Preview) -> str:
        """Return the link that shows a preview.

        Args:
            preview: The content to show.

        Raises:
            ValueError: Its target is on another site, or its payload is empty or too
                large.
        """
        if not (preview.key.isprintable() and preview.variation.isprintable()):
            raise ValueError("the key and the variation are shown: leave out controls")
        if not leads_to(preview.target):
            raise ValueError(f"{preview.target!r} is no path of a site: begin with '/'")
        if not preview.payload:
            raise ValueError("the payload is empty: there is nothing to show")
        shown = [preview.key, preview.variation, dict(preview.payload)]
        message = [*shown, preview.target, preview.expires_at]
        try:
            token = self._tokens.make(message)
        except TokenTooLongError as error:
            raise ValueError(
                f"the payload is too large for a cookie: {error}"
            ) from None
        return self._path + token

    def read(self, token: str) -> Preview | Refusal:
        """Return the preview of a token, or the reason why it has none."""
        read = self._tokens.read(token)
        if read is None:
            return Refusal.NOT_OURS
        preview = Preview(*read[1])
        if self._clock() >= preview.expires_at:
            return Refusal.EXPIRED
        return preview

    def badge(self, preview: Preview, prefix: str = "") -> Markup:
        """Return an element that labels a page as a preview, with a link to leave it.

        Args:
            preview: The open preview.
            prefix: The prefix at which the app is mounted, as in ``/shop``.
        """
        path = f"{prefix}{self._path}"
        return _BADGE.format(preview.key, preview.variation, path, STYLE_NAME, LEAVE)


# A separate file: a Content-Security-Policy for the site's own styles allows it, while
# few allow inline styles. Without it the badge is plain text.
STYLE = (
    b".moe-preview{position:fixed;right:1rem;bottom:1rem;max-width:calc(100% - 2rem);"
    b"box-sizing:border-box;z-index:2147483647;padding:.5rem .9rem;"
    b"border:1px solid #75757a;border-radius:.5rem;background:#1d1d1f;color:#fff;"
    b"font:14px/1.4 sans-serif;text-align:left;overflow-wrap:anywhere}"
    b".moe-preview a{color:#9cf;text-decoration:underline}"
)

STYLE_NAME = f"{blake2b(STYLE, digest_size=8).hexdigest()}.css"
"""The badge's stylesheet; its name depends on its content, for the browser's cache."""

_BADGE = Markup(
    '<link rel="stylesheet" href="{2}{3}"><span role="status" class="moe-preview">'
    'Preview of {0}, {1}. Not counted. <a href="{2}{4}">Exit preview</a></span>'
)
