"""The tokens of a page's elements, and the beacons that browsers send of them. Pure."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any
from uuid import UUID

from markupsafe import Markup

from ..logs.log_lines import one_line
from ..models.events import Action
from ..models.experience import Experience
from ..models.identity import Identity
from .click_links import ClickLinks, PageLinks
from .tokens import MAX_TOKEN, TokenTooLongError, VisitorToken, VisitorTokens

logger = logging.getLogger(__name__)

PURPOSE = "beacon"

BEACONS = "e"
"""Where beacons are sent, below ``clicks.path``."""

MAX_BODY = 64 * 1024
"""Bytes; what ``navigator.sendBeacon`` sends at most."""

MAX_SIGNALS = 50
"""Of one beacon. The script sends a click at once, and impressions together: a page has
25 experiences at most in one fetch."""


@dataclass(frozen=True, slots=True)
class Mark:
    """An element's token that was read.

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
        action: What happened to it.
        token: The element's.
        number: Of a click: tells it from the token's other ones.
    """

    action: Action
    token: str
    number: int = 0

    def uuid(self, mark: Mark) -> str | None:
        """Return its event's uuid; None where the mark does not count such a thing.

        It is the same however often the signal comes.
        """
        if self.action is Action.IMPRESSION:
            return mark.sight
        if mark.b_id is None:
            return None
        text = mark.token.id + self.number.to_bytes(8, "big")
        digest = blake2b(text, digest_size=16, person=b"moe_mw click").digest()
        return str(UUID(bytes=digest, version=4))


def read_signals(body: bytes) -> list[Signal] | None:
    """Return what a beacon says; None where it is none, or says too much."""
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


class Beacons:
    """Makes and reads the tokens of elements.

    Args:
        secrets: The newest first.
        max_age: How long a token counts, in seconds.
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

    def make(
        self,
        *,
        b_id: str | None,
        sight: str | None,
        experience_context: Mapping[str, Any],
        identity: Identity,
    ) -> str:
        """Return an element's token.

        Args:
            b_id: Which element it is; None where its clicks do not count.
            sight: The uuid of the impression that counts once it is seen.
            experience_context: Of the experience that it shows.
            identity: Whom the page is for.

        Raises:
            TokenTooLongError: Its ``b_id`` and context are too long.
        """
        message = [b_id, sight, dict(experience_context)]
        return self._tokens.make(message, identity.reporting_id)

    def read(self, token: str) -> Mark | None:
        """Return what a token holds; None for one that is not ours."""
        read = self._tokens.read(token)
        if read is None:
            return None
        b_id, sight, context = read.message
        return Mark(b_id, sight, context, read)

    def is_of(self, mark: Mark, identity: Identity) -> bool:
        """Whether a token was on a page of this visitor."""
        return self._tokens.is_of(mark.token, identity.reporting_id)


class PageMarks(PageLinks):
    """Makes the click links of one page, and marks its elements for the script.

    Args:
        links: Makes the links.
        identity: Whom the page is for.
        beacons: Makes the tokens.
        root_path: Where the app is mounted, as in ``/shop``.
        new_id: Mints the uuids of impressions.
    """

    __slots__ = ("_beacons", "_new_id", "_sights")

    def __init__(
        self,
        links: ClickLinks,
        identity: Identity,
        beacons: Beacons,
        *,
        root_path: str,
        new_id: Callable[[], str],
    ) -> None:
        super().__init__(links, identity, root_path)
        self._beacons = beacons
        self._new_id = new_id
        self._sights: dict[str, str] = {}

    def watch(self, key: str) -> None:
        self._sights.setdefault(key, self._new_id())

    def sight(self, key: str) -> str | None:
        return self._sights.get(key)

    def attrs(self, experience: Experience, b_id: str | None) -> str:
        sight = self.sight(experience.key)
        if (b_id is None and sight is None) or self._identity.reporting_id is None:
            return ""
        self.counted.add(experience.key)
        try:
            token = self._beacons.make(
                b_id=b_id,
                sight=sight,
                experience_context=experience.experience_context,
                identity=self._identity,
            )
        except TokenTooLongError:
            logger.warning(
                "element_not_marked key=%s: b_id and experience_context are too long "
                "for an attribute",
                one_line(experience.key),
            )
            return ""
        kinds = [
            name for name, it in (("click", b_id), ("seen", sight)) if it is not None
        ]
        # Nothing in either is to be escaped.
        return Markup(f'data-moe="{token}" data-moe-on="{" ".join(kinds)}"')
