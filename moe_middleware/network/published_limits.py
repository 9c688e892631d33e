"""Reads the workspace's rate limit from a response's headers. Pure.

By the API's documents ``x-ratelimit-reset`` is in unix seconds. Gateways and proxies
also send it, and ``Retry-After``, as seconds from now, in milliseconds or as a date.
All forms are read here, relative to the response's own ``Date``, so a wrong clock does
not matter; and no response can stop calls for more than a minute.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

LONGEST_WAIT = 60.0
"""Seconds. No response stops calls for longer; after that, one call tries. It is the
window of the API's rate limit."""

EPOCH_FROM = 1e8
"""A reset below this is not a date, but seconds from now."""

EPOCH_BELOW = 1e11
"""A date from here on is in milliseconds, or finer."""

WINDOW = 60
"""The window of the API's rate limit, in seconds."""

_NUMBER = re.compile(r"(\d{1,19}(?:\.\d{1,9})?)\s*(?:[,;].*)?", re.ASCII)
_WHOLE = re.compile(r"(\d{1,15})\s*(?:[,;].*)?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The rate limit in one response; None for missing and unreadable values.

    Attributes:
        limit: Calls in a minute.
        remaining: How many of them are left.
        resets_in: Seconds until all are available again, ``LONGEST_WAIT`` at most; it
            may be wrong.
        refused: Whether the call was refused for exceeding it.
    """

    limit: int | None
    remaining: int | None
    resets_in: float | None
    refused: bool = False


def limits_of(
    headers: Mapping[str, str], now: float, *, refused: bool = False
) -> Published | None:
    """Return the rate limit in a response's headers; None without one.

    Args:
        headers: The response's headers, by lower-case names.
        now: The time, in unix seconds, for responses without a date.
        refused: Whether it was a 429: then no call is left, whatever the headers are.
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
    """Return the seconds to wait by a header; None if it is missing or unreadable."""
    text = headers.get(name)
    if not text:
        return None
    number = _NUMBER.fullmatch(text.strip())
    moment = float(number[1]) if number else _date(text)
    if moment is None:
        return None
    if moment >= EPOCH_FROM:
        # In milliseconds, microseconds or nanoseconds.
        while moment >= EPOCH_BELOW:
            moment /= 1000
        # Relative to the server's clock, as ours may be wrong by minutes.
        sent_at = _date(headers.get("date", ""))
        moment -= now if sent_at is None else sent_at
    return min(max(0.0, moment), LONGEST_WAIT)


def _limit(text: str | None) -> int | None:
    """Return a limit of calls a minute; None if its window is another one."""
    limit = _whole(text)
    # Envoy's form: "10000, 10000;w=60".
    window = re.search(rf"\b{limit}\s*;\s*w=(\d+)", text or "")
    return limit if window is None or window[1] == str(WINDOW) else None


def _whole(text: str | None) -> int | None:
    found = _WHOLE.fullmatch(text.strip()) if text else None
    return int(found[1]) if found else None


@lru_cache(maxsize=16)
def _date(text: str) -> float | None:
    """Return an HTTP or ISO date in unix seconds; responses of one second share it."""
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            # A date of long ago must not pass for seconds from now.
            return max(EPOCH_FROM, read(text.strip()).timestamp())
        except (ValueError, OverflowError, OSError):
            continue
    return None
