"""What an answer's headers say of the workspace's limit: the one reader of them. Pure.

The documents have ``x-ratelimit-reset`` in unix seconds. Gateways and proxies send it,
and ``Retry-After``, in other ways too: as the seconds until then, in milliseconds, as a
date. All of them are read here, relative to the answer's own ``Date``, so that a clock
that is off makes no difference; and no answer can ask for more than a minute.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

LONGEST_WAIT = 60.0
"""Seconds. No answer stops calls for longer, whatever it says: after that one call
tries. It is the window that the documents' limit counts over."""

EPOCH_FROM = 1e8
"""A reset below this is no date but the seconds until then."""

EPOCH_BELOW = 1e11
"""A date from here on is in milliseconds, or finer."""

WINDOW = 60
"""What the documents' limit counts over, in seconds."""

_NUMBER = re.compile(r"(\d{1,19}(?:\.\d{1,9})?)\s*(?:[,;].*)?", re.ASCII)
_WHOLE = re.compile(r"(\d{1,15})\s*(?:[,;].*)?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What one answer said; None for what it did not say, or not in plain numbers.

    Attributes:
        limit: Calls in a minute.
        remaining: How many of them are left.
        resets_in: How long until all are there again, in seconds, ``LONGEST_WAIT`` at
            most; it may be wrong.
        refused: Whether the call was refused for it.
    """

    limit: int | None
    remaining: int | None
    resets_in: float | None
    refused: bool = False


def limits_of(
    headers: Mapping[str, str], now: float, *, refused: bool = False
) -> Published | None:
    """Return what an answer's headers say of the limit; None where they say nothing.

    Args:
        headers: The answer's headers, by lower-case names.
        now: The time, in unix seconds, for answers without a date of their own.
        refused: Whether the answer was a 429: then nothing is left, whatever it says.
    """
    limit = _limit(headers.get("x-ratelimit-limit"))
    remaining = 0 if refused else _whole(headers.get("x-ratelimit-remaining"))
    resets_in = _wait(headers, "retry-after", now) if refused else None
    if resets_in is None:
        resets_in = _wait(headers, "x-ratelimit-reset", now)
    if limit is None and remaining is None and resets_in is None:
        return None
    return Published(
        limit=limit, remaining=remaining, resets_in=resets_in, refused=refused
    )


def _wait(headers: Mapping[str, str], name: str, now: float) -> float | None:
    """Return how long to wait by a header, in seconds; None where it does not say."""
    text = headers.get(name)
    if not text:
        return None
    number = _NUMBER.fullmatch(text.strip())
    moment = float(number[1]) if number else _date(text)
    if moment is None:
        return None
    if moment >= EPOCH_FROM:
        while moment >= EPOCH_BELOW:
            moment /= 1000
        # Its own clock counts, not ours, which may be minutes off.
        sent_at = _date(headers.get("date", ""))
        moment -= now if sent_at is None else sent_at
    return min(max(0.0, moment), LONGEST_WAIT)


def _limit(text: str | None) -> int | None:
    """Return a limit of calls a minute; None where it is one of another window."""
    limit = _whole(text)
    # Envoy's way to say it: "10000, 10000;w=60".
    window = re.search(rf"\b{limit}\s*;\s*w=(\d+)", text or "")
    return limit if window is None or window[1] == str(WINDOW) else None


def _whole(text: str | None) -> int | None:
    found = _WHOLE.fullmatch(text.strip()) if text else None
    return int(found[1]) if found else None


@lru_cache(maxsize=16)
def _date(text: str) -> float | None:
    """Return an HTTP or ISO date in unix seconds. All answers of a second share one."""
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            return max(EPOCH_FROM, read(text.strip()).timestamp())
        except (ValueError, OverflowError, OSError):
            continue
    return None
