"""The pause before the next try. Pure."""

from __future__ import annotations

_MOST_DOUBLINGS = 32


def backoff(failures: int, *, first: float, longest: float, jitter: float) -> float:
    """Return a pause in seconds, which doubles with each failure.

    Args:
        failures: How many tries failed in a row, 1 or more.
        first: The longest pause after the first failure, in seconds.
        longest: The longest pause after any failure, in seconds.
        jitter: A random number from 0 to 1: 0 halves the pause, 1 leaves it as it is.
    """
    # Unlimited doublings would end in an OverflowError after months of an outage.
    doubled = first * float(2 ** min(failures - 1, _MOST_DOUBLINGS))
    return min(doubled, longest) * (0.5 + jitter / 2)
