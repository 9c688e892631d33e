"""What a page leaves to MoEngage's Web SDK, and the elements that tell it. Pure."""

from __future__ import annotations

from typing import Any

import orjson
from markupsafe import Markup

from ..models.experience import Experience
from ..models.experiences import WebSDKApi
from . import sdk_script_element


class LeftToSDK:
    """The experiences of one page that the Web SDK tells of.

    Attributes:
        untold: Those that no element of the page tells it of so far.
    """

    __slots__ = ("_script_given", "untold")

    def __init__(self) -> None:
        self._script_given = False
        self.untold: dict[str, Experience] = {}

    def leave(self, experience: Experience) -> None:
        """Leave an experience to the SDK."""
        self.untold[experience.key] = experience

    def elements(
        self, path: str, *, nonce: str | None, api: WebSDKApi, device: str | None
    ) -> Markup:
        """Return what tells the SDK of those it does not know of yet.

        Args:
            path: Where our own paths begin, as in ``/_moe``.
            nonce: Of the page's Content-Security-Policy.
            api: Which of its ways it is told.
            device: The cookie that would have told us the device id; None where it is
                known, or not wanted.
        """
        contexts = {key: one.experience_context for key, one in self.untold.items()}
        if not contexts and (device is None or self._script_given):
            return _NOTHING
        told = {"api": api, "contexts": contexts, "device": device}
        elements = _BLOCK.format(Markup(_json(told)))
        if not self._script_given:
            elements += sdk_script_element(path, nonce)
        self._script_given = True
        self.untold = {}
        return elements


_NOTHING = Markup()

# It is data, which no Content-Security-Policy keeps from being read.
_BLOCK = Markup('<script type="application/json" data-moe-told>{}</script>')


def _json(told: Any) -> str:
    """Return JSON that ends no element and no line of the page that it stands in."""
    text = orjson.dumps(told, default=dict, option=orjson.OPT_NON_STR_KEYS).decode()
    for letter, escaped in _ESCAPED:
        text = text.replace(letter, escaped)
    return text


_ESCAPED = tuple(
    (letter, f"\\u{ord(letter):04x}") for letter in ("<", ">", "&", "\u2028", "\u2029")
)
