"""What the API says of a workspace's limit in the headers of its answers. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

EPOCH_FROM = 1e8
"""A reset below this is no date but the seconds until then: proxies send it so."""

_WHOLE = re.compile(r"\d{1,15}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What one answer said; None for what it did not say, or not in plain numbers.

    Attributes:
        limit: Calls in a minute.
        remaining: How many of them are left.
        resets_in: How long until all are there again, in seconds; it may be wrong.
    """

    limit: int | None
    remaining: int | None
    resets_in: float | None


def limits_of(
    headers: Mapping[str, str], now: float, *, refused: bool = False
) -> Published | None:
    """Return what an answer's headers say of the limit; None where they say nothing.

    Args:
        headers: The answer's headers, by lower-case names.
        now: The time, in unix seconds, for answers without a date of their own.
        refused: Whether the answer was a 429: then nothing is left, whatever it says.
    """
    limit = _whole(headers.get("x-ratelimit-limit"))
    remaining = 0 if refused else _whole(headers.get("x-ratelimit-remaining"))
    resets_in = _retry_after(headers, now) if refused else None
    if resets_in is None:
        resets_in = _reset(headers, now)
    if limit is None and remaining is None and resets_in is None:
        return None
    return Published(limit=limit, remaining=remaining, resets_in=resets_in)


def _reset(headers: Mapping[str, str], now: float) -> float | None:
    reset = _whole(headers.get("x-ratelimit-reset"))
    if reset is None or reset < EPOCH_FROM:
        return reset
    # Its own clock counts, not ours, which may be minutes off.
    sent_at = _date(headers.get("date"))
    return max(0.0, reset - (now if sent_at is None else sent_at))


def _retry_after(headers: Mapping[str, str], now: float) -> float | None:
    after = headers.get("retry-after")
    seconds = _whole(after)
    if seconds is not None:
        return seconds
    until = _date(after)
    return None if until is None else max(0.0, until - now)


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and _WHOLE.fullmatch(text.strip()) else None


def _date(text: str | None) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, OverflowError):
        return None
