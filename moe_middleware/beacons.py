"""What browsers tell of a page's elements, and the tokens that let them. Pure."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any
from uuid import UUID

from markupsafe import Markup

from .click_links import ClickLinks, PageLinks, visitor_digest
from .log_texts import one_line
from .models import Action, Experience, Identity
from .packing import pack, unpack
from .seals import MAX_TOKEN, NONCE_SIZE, Seal
from .settings import Settings

logger = logging.getLogger(__name__)

PURPOSE = "beacon"

BEACONS = "e"
"""Where they are sent, below ``clicks.path``."""

MAX_BODY = 64 * 1024
"""Bytes; what ``navigator.sendBeacon`` sends at most."""

MAX_SIGNALS = 50
"""Of one beacon. The script sends a click at once, and what came into sight together:
a page has 25 experiences at most in one fetch."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What a token says of the element that has it.

    Attributes:
        nonce: The token's own.
        b_id: Which element it is; None for one whose clicks do not count.
        sight: The uuid of the impression that counts once it is seen; None where none
            does.
        experience_context: Of the experience that it shows.
        whose: A digest of the workspace, and of the id that the page was made for.
        expires_at: Until when it counts, in unix seconds.
    """

    nonce: bytes
    b_id: str | None
    sight: str | None
    experience_context: Mapping[str, Any]
    whose: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class Signal:
    """What a browser says of an element.

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
        text = mark.nonce + self.number.to_bytes(8, "big")
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


# A click's number is the browser's clock, in milliseconds: whoever comes back to a page
# that the browser kept clicks with other numbers.
_TOKEN = rb"([\w.-]{1,%d})" % MAX_TOKEN
_LINE = re.compile(rb"c %b (\d{1,15})|s %b" % (_TOKEN, _TOKEN))


class Beacons:
    """Makes and reads the tokens of elements.

    Args:
        secrets: The newest first.
        max_age: How long a token counts, in seconds.
        workspace_id: Whose experiences they are; tokens of another workspace with the
            same secret count nothing.
        random_bytes: As ``os.urandom``.
    """

    def __init__(
        self,
        secrets: Sequence[str],
        *,
        max_age: float,
        workspace_id: str = "",
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._seal = Seal(secrets, PURPOSE)
        self._workspace_id = workspace_id
        self._max_age = max_age
        self._random_bytes = random_bytes

    def make(
        self,
        *,
        b_id: str | None,
        sight: str | None,
        experience_context: Mapping[str, Any],
        identity: Identity,
        now: float,
    ) -> str:
        """Return an element's token.

        Args:
            b_id: Which element it is; None where its clicks do not count.
            sight: The uuid of the impression that counts once it is seen.
            experience_context: Of the experience that it shows.
            identity: Whom the page is for.
            now: In unix seconds.
        """
        nonce = self._random_bytes(NONCE_SIZE)
        expires_at = int(now + self._max_age)
        whose = visitor_digest(identity, nonce.hex(), self._workspace_id)
        said = [b_id, sight, dict(experience_context), whose, expires_at]
        return self._seal.close(pack(said), nonce)

    def read(self, token: str) -> Mark | None:
        """Return what a token says; None for one that is not ours."""
        opened = self._seal.open(token)
        if opened is None:
            return None
        packed, nonce = opened
        try:
            b_id, sight, context, whose, expires_at = unpack(packed)
        except ValueError:
            return None
        return Mark(
            nonce=nonce,
            b_id=b_id,
            sight=sight,
            experience_context=context,
            whose=whose,
            expires_at=expires_at,
        )

    def is_of(self, mark: Mark, identity: Identity) -> bool:
        """Whether whoever sends a token is the one whose page had it."""
        nonce, workspace_id = mark.nonce.hex(), self._workspace_id
        return mark.whose == visitor_digest(identity, nonce, workspace_id)


def beacons_for(settings: Settings) -> Beacons:
    """Return what makes and reads the tokens of a configuration with a secret."""
    secrets = tuple(key.get_secret_value() for key in settings.secret_key or ())
    return _beacons(secrets, settings.clicks.max_age, settings.workspace.id)


@lru_cache(maxsize=8)
def _beacons(secrets: tuple[str, ...], max_age: float, workspace_id: str) -> Beacons:
    return Beacons(secrets, max_age=max_age, workspace_id=workspace_id)


class PageMarks(PageLinks):
    """Makes the click links of one page, and marks its elements for the script.

    Args:
        links: Makes the links.
        identity: Whom the page is for.
        beacons: Returns what makes the tokens.
        root_path: Where the app is mounted, as in ``/shop``.
        clock: The time, in unix seconds.
        new_id: Mints the uuids of impressions.
    """

    __slots__ = ("_beacons", "_clock", "_new_id", "_sights")

    def __init__(
        self,
        links: ClickLinks,
        identity: Identity,
        beacons: Callable[[], Beacons],
        *,
        root_path: str,
        clock: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        super().__init__(links, identity, root_path)
        self._beacons = beacons
        self._clock = clock
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
        token = self._beacons().make(
            b_id=b_id,
            sight=sight,
            experience_context=experience.experience_context,
            identity=self._identity,
            now=self._clock(),
        )
        if len(token) > MAX_TOKEN:
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
