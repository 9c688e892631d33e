"""Makes and reads signed links that count a click and redirect to their target.
Pure."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

import orjson

from ..logs.log_lines import one_line
from ..models.identity import Identity
from ..models.urls import clean, harmless, leads_to
from .tokens import TokenTooLongError, VisitorToken, VisitorTokens, pack

logger = logging.getLogger(__name__)

PURPOSE = "click"

MAX_REMEMBERED = 1_024
"""The largest message that is packed once: other visitors' links have the same one."""

LINKS = "c"
"""The path of click links below ``clicks.path``."""


@dataclass(frozen=True, slots=True)
class Click:
    """The content of a click link.

    Attributes:
        target: The target of the redirect.
        uuid: The click's uuid, the same however often the link is followed.
        b_id: The clicked element.
        experience_context: The context of its experience.
        token: The visitor for whom it counts, and its expiry.
    """

    target: str
    uuid: str
    b_id: str | None
    experience_context: Mapping[str, Any]
    token: VisitorToken


class ClickLinks:
    """Makes and reads click links.

    Args:
        secrets: The secret keys, the newest first.
        path: The path of click links, as in ``/_moe/c/``.
        hosts: Other hosts that are allowed as targets.
        max_age: Seconds during which a link counts.
        clock: The time, in unix seconds.
        workspace_id: The workspace of the experiences: a link of another one with the
            same secret redirects without counting.
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
        # A host's case means nothing.
        self._hosts = frozenset(host.lower() for host in hosts)
        self._message_once = lru_cache(maxsize=1_024)(self._message)

    def make(
        self,
        target: object,
        *,
        key: str,
        b_id: str | None,
        context: bytes,
        visitor_id: str | None,
        prefix: str = "",
    ) -> str:
        """Return a link that counts a click and redirects to ``target``.

        A target that is neither a path of this site nor on one of the hosts is returned
        unchanged, if it is safe in a page: such a link does not count.

        Args:
            target: A path of this site, or an address on one of the hosts.
            key: The experience key, for the log.
            b_id: The element.
            context: The context of its experience, as JSON.
            visitor_id: The id that the visitor's events carry.
            prefix: The prefix at which the app is mounted, as in ``/shop``.
        """
        size = len(context) + len(b_id or "")
        short = type(target) is str and len(target) + size <= MAX_REMEMBERED
        message_of = self._message_once if short else self._message
        try:
            message = message_of(target, b_id, context)
            if message is not None:
                token = self._tokens.sign(message, visitor_id)
                return f"{prefix}{self._path}{token}"
            logger.warning(
                "click_not_counted key=%s: the target is no path of this site: write "
                "one that begins with '/', or name its host in clicks.hosts",
                one_line(key),
            )
        except TokenTooLongError:
            logger.warning(
                "click_not_counted key=%s: target, b_id and experience_context are too "
                "long for a link",
                one_line(key),
            )
        # It does not count, but the visitor still gets there.
        return harmless(target)

    def _message(
        self, target: object, b_id: str | None, context: bytes
    ) -> bytes | None:
        """Return the packed message of a link; None if its target cannot count.

        Raises:
            TokenTooLongError: It is too long.
        """
        link = clean(target)
        if link is None or not self.may_lead_to(link):
            return None
        return pack(b"[%b,%b,%b]" % (orjson.dumps(link), orjson.dumps(b_id), context))

    def may_lead_to(self, target: str) -> bool:
        """Whether a target is on this site, or on one of the hosts."""
        return leads_to(target, self._hosts)

    def read(self, token: str) -> Click | None:
        """Return the content of a link; None if it is not ours."""
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
        """Whether a link was made for this visitor."""
        return self._tokens.is_of(click.token, identity.reporting_id)
