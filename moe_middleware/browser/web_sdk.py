"""The experiences of a page that MoEngage's Web SDK reports, and their elements.
Pure."""

from __future__ import annotations

from typing import Any

import orjson
from markupsafe import Markup

from ..models.experience import Experience
from ..models.experiences import WebSDKApi
from . import SDK_SCRIPT_NAME, script_element


class LeftToSDK:
    """The experiences of one page that the Web SDK reports.

    Attributes:
        pending: The experiences without an element in the page so far.
    """

    __slots__ = ("_script_given", "pending")

    def __init__(self) -> None:
        self._script_given = False
        self.pending: dict[str, Experience] = {}

    def leave(self, experience: Experience) -> None:
        """Let the SDK report an experience."""
        self.pending[experience.key] = experience

    def elements(
        self, path: str, *, nonce: str | None, api: WebSDKApi, device: str | None
    ) -> Markup:
        """Return the elements for the SDK with the pending experiences.

        Args:
            path: The prefix of our own endpoints, as in ``/_moe``.
            nonce: The nonce of the page's Content-Security-Policy.
            api: The form of the SDK's calls.
            device: The cookie that would contain the device id; None if it is known, or
                not wanted.
        """
        contexts = {key: one.experience_context for key, one in self.pending.items()}
        if not contexts and (device is None or self._script_given):
            return _NOTHING
        message = {"api": api, "contexts": contexts, "device": device}
        elements = _BLOCK.format(Markup(_json(message)))
        # One script reads all blocks of a page.
        if not self._script_given:
            elements += script_element(path, nonce, SDK_SCRIPT_NAME)
        self._script_given = True
        self.pending = {}
        return elements


_NOTHING = Markup()

# Data blocks are not subject to a Content-Security-Policy.
_BLOCK = Markup('<script type="application/json" data-moe-web-sdk>{}</script>')


def _json(message: Any) -> str:
    """Return JSON that is safe within a page's elements and lines."""
    text = orjson.dumps(message, default=dict, option=orjson.OPT_NON_STR_KEYS).decode()
    for letter, escaped in _ESCAPED:
        text = text.replace(letter, escaped)
    return text


_ESCAPED = tuple(
    (letter, f"\\u{ord(letter):04x}") for letter in ("<", ">", "&", "\u2028", "\u2029")
)
