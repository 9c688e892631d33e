"""Reads the payloads of a page as classes, and makes a digest of them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from ..logs.log_lines import one_line
from ..logs.repeated_lines import RepeatLogger
from .experience import Experience
from .plain_values import plain_of
from .reasons import Reason

T = TypeVar("T")

DIGEST = 16
"""Bytes of a fingerprint: two different pages must not have the same one."""

_lines = RepeatLogger(logging.getLogger(__name__))

_UNSETTLED = frozenset({Reason.NOT_READY, Reason.NOT_REQUESTED, Reason.TOO_LATE})
"""Reasons of keys whose answer may still come, after the fingerprint was made."""


class Fingerprint(str):
    """A digest of a visitor's payloads.

    Attributes:
        keys: The keys that it covers.
    """

    __slots__ = ("keys",)
    keys: frozenset[str]

    def __new__(cls, digest: str, keys: Iterable[str]) -> Fingerprint:
        made = super().__new__(cls, digest)
        made.keys = frozenset(keys)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return Fingerprint, (str(self), self.keys)


class Payloads:
    """The part of ``Experiences`` that is about whole payloads."""

    __slots__ = ()

    if TYPE_CHECKING:
        _shown: dict[str, Experience] | None

        def __getitem__(self, key: str) -> Experience: ...
        def __iter__(self) -> Iterator[str]: ...
        @property
        def pending(self) -> Sequence[str]: ...
        def add(self, found: Iterable[Experience]) -> None: ...

    def typed(self, key: str, kind: type[T]) -> T | None:
        """Return a key's payload as an object of your own class.

        None where there is no match, and where the payload does not fit: then the
        experience has the reason ``bad_payload`` and is empty from now on, so that
        ``show`` and the template tag treat this page as one without a match, and one
        log line names the value that does not fit.

        Args:
            key: As for ``experiences[key]``. This counts no impression: ``show`` does.
            kind: A TypedDict with the payload's own names; or a dataclass or a pydantic
                model, whose ``cta_label`` is also the payload's "CTA Label".

        Raises:
            TypeError: ``kind`` is no such class. It is raised with and without a match.
        """
        from .typed_payloads import typed_payload

        experience = self[key]
        found = typed_payload(experience, kind)
        if found is None and experience:
            self._refuse(Experience(key=experience.key, reason=Reason.BAD_PAYLOAD))
        return found

    def _refuse(self, fallback: Experience) -> None:
        """Replace an experience that was not taken, and forget its impression."""
        self.add([fallback])
        if self._shown:
            self._shown.pop(fallback.key, None)

    def fingerprint(self, *keys: str) -> Fingerprint:
        """Return a short digest of this visitor's payloads, for caches of your own.

        The same for all visitors with the same payloads and variations, in every
        process; all reasons of a fallback are one. It depends neither on the order of
        the keys nor on the visitor's ids. Reading it makes the response private.

        A key whose answer is still to come (see ``ready`` and ``fetch``) gives a
        digest that never comes again, and a log line.

        Args:
            keys: The keys; without any, all that the page's routes want or that were
                fetched.
        """
        wanted = keys or (*self, *self.pending)
        found = {one.key: one for one in map(self.__getitem__, wanted)}
        content = {
            key: [one.payload, one.variation] if one else None
            for key, one in found.items()
        }
        options = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
        text = orjson.dumps(content, default=plain_of, option=options)
        digest = blake2b(text, digest_size=DIGEST).hexdigest()
        for key, one in found.items():
            if one.reason in _UNSETTLED:
                digest = os.urandom(DIGEST).hex()
                _lines.log(
                    logging.WARNING,
                    "fingerprint_too_early key=%s reason=%s: %s",
                    *(one_line(key), one.reason, _EARLY),
                )
        return Fingerprint(digest, found)


_EARLY = (
    "it will match no other one: name the key in a route of moe.yml, 'await "
    "experiences.ready()' or fetch it, and then take the fingerprint"
)
