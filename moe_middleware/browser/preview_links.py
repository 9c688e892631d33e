"""Links that show one payload to everyone who has them, until they expire. Pure."""

from __future__ import annotations

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
"""Where previews are opened and left, below ``clicks.path``."""

LEAVE = "leave"

COOKIE = "moe_preview"
"""The name of the cookie that keeps a preview, for as long as it lasts."""

MAX_PREVIEW = 3_800
"""Characters of a token; browsers keep no cookie of more than 4,096 bytes, its name
and its attributes among them."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What a preview link shows.

    Attributes:
        key: The experience key.
        variation: Its variation, as the link's author calls it.
        payload: The forced content.
        target: The page to open it on, a path of this site.
        expires_at: Until when it is shown, in unix seconds.
    """

    key: str
    variation: str
    payload: Mapping[str, Any]
    target: str
    expires_at: int

    @property
    def experience(self) -> Experience:
        """What pages get for the key; without a context there is nothing to count."""
        return Experience(key=self.key, payload=self.payload, source=Source.PREVIEW)


class Refusal(StrEnum):
    """Why a token shows nothing."""

    NOT_OURS = "not_ours"
    EXPIRED = "expired"


class PreviewLinks:
    """Makes and reads preview links.

    Args:
        secrets: The newest first.
        path: Where they are opened, as in ``/_moe/p/``.
        clock: The time, in unix seconds.
    """

    def __init__(
        self, secrets: Sequence[str], *, path: str, clock: Callable[[], float]
    ) -> None:
        self._tokens = Tokens(secrets, PURPOSE, fields=5, max_length=MAX_PREVIEW)
        self._path = path
        self._clock = clock

    def make(self, preview: Preview) -> str:
        """Return the link that shows a preview.

        Args:
            preview: What to show.

        Raises:
            ValueError: It leads elsewhere, or its payload is empty or too large.
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
        """Return what a token shows, or why it shows nothing."""
        read = self._tokens.read(token)
        if read is None:
            return Refusal.NOT_OURS
        preview = Preview(*read[1])
        if self._clock() >= preview.expires_at:
            return Refusal.EXPIRED
        return preview

    def badge(self, preview: Preview, prefix: str = "") -> Markup:
        """Return an element that says on a page what is shown, and how to leave.

        Args:
            preview: What is shown.
            prefix: Where the app is mounted, as in ``/shop``.
        """
        path = f"{prefix}{self._path}"
        return _BADGE.format(preview.key, preview.variation, path, STYLE_NAME, LEAVE)


# A file of its own: a Content-Security-Policy that allows the site's own styles allows
# this, and few allow what stands in an element. Without it, the badge is plain text.
STYLE = (
    b".moe-preview{position:fixed;right:1rem;bottom:1rem;max-width:calc(100% - 2rem);"
    b"box-sizing:border-box;z-index:2147483647;padding:.5rem .9rem;"
    b"border:1px solid #75757a;border-radius:.5rem;background:#1d1d1f;color:#fff;"
    b"font:14px/1.4 sans-serif;text-align:left;overflow-wrap:anywhere}"
    b".moe-preview a{color:#9cf;text-decoration:underline}"
)

STYLE_NAME = f"{blake2b(STYLE, digest_size=8).hexdigest()}.css"
"""Beside the links; another name for each content, so that browsers may keep it."""

_BADGE = Markup(
    '<link rel="stylesheet" href="{2}{3}"><span role="status" class="moe-preview">'
    'Preview of {0}, {1}. Not counted. <a href="{2}{4}">Exit preview</a></span>'
)
