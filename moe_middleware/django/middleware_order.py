"""Where our middleware stands in ``MIDDLEWARE``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

NEEDED = {
    "session": "django.contrib.sessions.middleware.SessionMiddleware",
    "user": "django.contrib.auth.middleware.AuthenticationMiddleware",
}
"""The middlewares that requests have a session and a user from."""


def order_faults(own: str, listed: Sequence[str], kinds: Set[str]) -> Iterator[str]:
    """Yield which middlewares stand below ours, although it needs them.

    Args:
        own: Our middleware's name in ``MIDDLEWARE``.
        listed: ``MIDDLEWARE``.
        kinds: The kinds of the sources in the settings.
    """
    above = listed[: listed.index(own)] if own in listed else listed
    for kind, other in NEEDED.items():
        if kind in kinds and other in listed and other not in above:
            yield (
                f"MIDDLEWARE lists {own} above {other}, where a request has no "
                f"{kind} yet: list it below"
            )
