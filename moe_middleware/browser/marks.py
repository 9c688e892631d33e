"""The tokens of a page's elements, and the beacons that browsers send of them. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any
from uuid import UUID

import orjson

from ..models.events import Action
from ..models.identity import Identity
from .click_links import MAX_REMEMBERED
from .tokens import MAX_TOKEN, VisitorToken, VisitorTokens, pack

PURPOSE = "beacon"

BEACONS = "e"
"""Where beacons are sent, below ``clicks.path``."""

MAX_BODY = 64 * 1024
"""The largest beacon, in bytes: the limit of ``navigator.sendBeacon``."""

MAX_SIGNALS = 50
"""Of one beacon. The script sends a click at once, and impressions together: a page has
25 experiences at most in one fetch."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The content of an element's token.

    Attributes:
        b_id: The element's id; None if its clicks do not count.
        sight: The uuid of the impression that counts once the element is seen; None if
            none does.
        experience_context: Of the experience that it shows.
        token: Holds the visitor's digest and the expiry.
    """

    b_id: str | None
    sight: str | None
    experience_context: Mapping[str, Any]
    token: VisitorToken


@dataclass(frozen=True, slots=True)
class Signal:
    """One click or impression in a beacon.

    Attributes:
        action: An impression or a click.
        token: The element's token.
        number: For a click, its number among the clicks on this element.
    """

    action: Action
    token: str
    number: int = 0

    def uuid(self, mark: Mark) -> str | None:
        """Return the uuid of its event; None if the mark does not count this action."""
        if self.action is Action.IMPRESSION:
            return mark.sight
        if mark.b_id is None:
            return None
        # Made of the signal: one that is sent again has the same uuid.
        text = mark.token.id + self.number.to_bytes(8, "big")
        digest = blake2b(text, digest_size=16, person=b"moe_mw click").digest()
        return str(UUID(bytes=digest, version=4))


def read_signals(body: bytes) -> list[Signal] | None:
    """Return the signals of a beacon; None if it is malformed or has too many."""
    lines = body.split(b"\n")
    if len(lines) > MAX_SIGNALS:
        return None
    signals = []
    for line in lines:
        matched = _LINE.fullmatch(line)
        if matched is None:
            return None
        clicked, number, seen = matched.groups()
        if seen is None:
            signals.append(Signal(Action.CLICK, clicked.decode(), int(number)))
        else:
            signals.append(Signal(Action.IMPRESSION, seen.decode()))
    return signals


# A click's number is the browser's clock, in milliseconds: on a page that the browser
# kept, later clicks have other numbers.
_TOKEN = rb"([\w.-]{1,%d})" % MAX_TOKEN
_LINE = re.compile(rb"c %b (\d{1,15})|s %b" % (_TOKEN, _TOKEN))


class MarkTokens:
    """Makes and reads the tokens of elements.

    Args:
        secrets: The secret keys, the newest first.
        max_age: Seconds during which a token counts.
        clock: The time, in unix seconds.
        workspace_id: Tokens of another workspace with the same secret do not count.
    """

    def __init__(
        self,
        secrets: Sequence[str],
        *,
        max_age: float,
        clock: Callable[[], float],
        workspace_id: str = "",
    ) -> None:
        self._tokens = VisitorTokens(
            secrets,
            PURPOSE,
            fields=3,
            workspace_id=workspace_id,
            max_age=max_age,
            clock=clock,
        )
        self._message_once = lru_cache(maxsize=1_024)(_message)

    def make(
        self,
        *,
        b_id: str | None,
        sight: str | None,
        context: bytes,
        visitor_id: str | None,
    ) -> str:
        """Return an element's token.

        Args:
            b_id: The element; None if its clicks do not count.
            sight: The uuid of the impression that counts when the element is seen.
            context: The context of its experience, as JSON.
            visitor_id: The id that the visitor's events carry.

        Raises:
            TokenTooLongError: Its ``b_id`` and context are too long.
        """
        # A sight's uuid is another one on every page.
        short = sight is None and len(b_id or "") + len(context) <= MAX_REMEMBERED
        message_of = self._message_once if short else _message
        return self._tokens.sign(message_of(b_id, sight, context), visitor_id)

    def read(self, token: str) -> Mark | None:
        """Return the content of a token; None if it is not ours."""
        read = self._tokens.read(token)
        if read is None:
            return None
        b_id, sight, context = read.message
        return Mark(b_id, sight, context, read)

    def is_of(self, mark: Mark, identity: Identity) -> bool:
        """Whether a token was made for this visitor."""
        return self._tokens.is_of(mark.token, identity.reporting_id)


def _message(b_id: str | None, sight: str | None, context: bytes) -> bytes:
    """Return the packed message of a token."""
    return pack(b"[%b,%b,%b]" % (orjson.dumps(b_id), orjson.dumps(sight), context))
