"""Parses responses, large ones in a thread, and merges those of one fetch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from ..concurrency.threads import in_thread
from ..models.errors import MoEngageError
from ..models.experience import Experience

T = TypeVar("T")

READ_AT_ONCE = 64 * 1024
"""Bytes of a response above which its JSON is parsed in a thread."""


async def parse_in_time(read: Callable[[], T], body: bytes) -> T:
    """Parse a body; a large one in a thread, so that the event loop goes on."""
    if len(body) <= READ_AT_ONCE:
        return read()
    # A cancelled page leaves the thread to its end.
    return await asyncio.shield(in_thread(read, "moe-read"))


def merge(
    chunks: Sequence[Sequence[str]],
    answers: Sequence[list[Experience] | BaseException],
) -> Iterator[Experience]:
    """Yield the experiences of all chunks of keys; failed ones become fallbacks.

    Raises:
        MoEngageError: All chunks have failed; this is the first error.
    """
    failures = [answer for answer in answers if isinstance(answer, BaseException)]
    for failure in failures:
        if not isinstance(failure, MoEngageError) or len(failures) == len(chunks):
            raise failure
    for keys, answer in zip(chunks, answers, strict=True):
        if isinstance(answer, MoEngageError):
            yield from (Experience(key=key, reason=answer.reason) for key in keys)
        elif not isinstance(answer, BaseException):
            yield from answer
