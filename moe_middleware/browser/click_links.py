"""Links that count a click and lead on, only to where they were made for. Pure."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from ..logs.log_lines import one_line
from ..models.experience import Experience
from ..models.identity import Identity
from ..models.urls import clean, harmless, leads_to, mounted_at
from .tokens import TokenTooLongError, VisitorToken, VisitorTokens

logger = logging.getLogger(__name__)

PURPOSE = "click"

_REMEMBERED = 256
"""Characters of a target that is looked at once."""

LINKS = "c"
"""Where links are followed, below ``clicks.path``."""


@dataclass(frozen=True, slots=True)
class Click:
    """A click link that was read.

    Attributes:
        target: Where it leads.
        uuid: The click's own, the same however often the link is followed.
        b_id: Which element was clicked.
        experience_context: Of the experience that it belongs to.
        token: Tells whom it counts for, and until when.
    """

    target: str
    uuid: str
    b_id: str | None
    experience_context: Mapping[str, Any]
    token: VisitorToken


class ClickLinks:
    """Makes and reads click links.

    Args:
        secrets: The newest first.
        path: Where the links are followed, as in ``/_moe/c/``.
        hosts: Other hosts that a link may lead to.
        max_age: How long a link counts, in seconds.
        clock: The time, in unix seconds.
        workspace_id: Whose experiences they are: a link of another workspace with the
            same secret leads on, and is not counted.
    """

    def __init__(
        self,
        secrets: Sequence[str],
        *,
        path: str,
        hosts: Collection[str],
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
        self._path = path
        self._hosts = frozenset(host.lower() for host in hosts)
        # Of a page's links, the targets are the same for every visitor.
        self._known_link = lru_cache(maxsize=1_024)(self._link)

    def make(
        self,
        target: object,
        *,
        key: str,
        b_id: str | None,
        experience_context: Mapping[str, Any],
        identity: Identity,
        prefix: str = "",
    ) -> str:
        """Return the link that counts a click and leads to ``target``.

        A target that is neither a path of this site nor on one of the hosts is returned
        as it is, where a page may hold it at all: such a link does not count.

        Args:
            target: A path of this site, or an address on one of the hosts.
            key: Of the experience, for the log.
            b_id: Which element it is.
            experience_context: Of the experience that it belongs to.
            identity: Whom the page is for.
            prefix: Where the app is mounted, as in ``/shop``.
        """
        short = type(target) is str and len(target) <= _REMEMBERED
        link = self._known_link(target) if short else self._link(target)
        if link is None:
            logger.warning(
                "click_not_counted key=%s: the target is no path of this site: write "
                "one that begins with '/', or name its host in clicks.hosts",
                one_line(key),
            )
            return harmless(target)
        message = [link, b_id, dict(experience_context)]
        try:
            token = self._tokens.make(message, identity.reporting_id)
        except TokenTooLongError:
            logger.warning(
                "click_not_counted key=%s: target, b_id and experience_context are too "
                "long for a link",
                one_line(key),
            )
            return harmless(target)
        return f"{prefix}{self._path}{token}"

    def _link(self, target: object) -> str | None:
        """Return a target that a link may count for, else None."""
        link = clean(target)
        return link if link is not None and self.may_lead_to(link) else None

    def may_lead_to(self, target: str) -> bool:
        """Whether a target is on this site, or on one of the hosts."""
        return leads_to(target, self._hosts)

    def read(self, token: str) -> Click | None:
        """Return what a link holds; None for one that is not ours."""
        read = self._tokens.read(token)
        if read is None:
            return None
        target, b_id, context = read.message
        return Click(
            target=target,
            uuid=str(UUID(bytes=read.id, version=4)),
            b_id=b_id,
            experience_context=context,
            token=read,
        )

    def is_of(self, click: Click, identity: Identity) -> bool:
        """Whether a link was on a page of this visitor."""
        return self._tokens.is_of(click.token, identity.reporting_id)


class PageLinks:
    """Makes the click links of one page.

    Args:
        links: Makes them.
        identity: Whom the page is for.
        root_path: Where the app is mounted, as in ``/shop``.

    Attributes:
        counted: The keys of the experiences that have links or marks which count.
    """

    __slots__ = ("_identity", "_links", "_root_path", "counted")

    def __init__(self, links: ClickLinks, identity: Identity, root_path: str) -> None:
        self._links = links
        self._identity = identity
        self._root_path = root_path
        self.counted: set[str] = set()

    def click_url(
        self, experience: Experience, target: object, b_id: str | None
    ) -> str:
        self.counted.add(experience.key)
        return self._links.make(
            target,
            key=experience.key,
            b_id=b_id,
            experience_context=experience.experience_context,
            identity=self._identity,
            prefix=mounted_at(self._root_path),
        )
