"""The weaknesses of secret keys, and the effects of having none. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterable

WITHOUT = "click links stay plain, attrs() and script() empty, previews refused"
"""The effects of a missing secret key, for messages."""

ENOUGH = 32
"""Characters: 192 random bits in base 64, 128 in hexadecimal."""

PUBLISHED = frozenset({"please-take-a-secret-of-your-own", "known-to-all-the-world"})
"""The example keys of the README and the demo."""


def weakness(secrets: Iterable[str]) -> str | None:
    """Return the worst weakness of some secret keys in a few words; None if none."""
    secrets = [*secrets]
    if not PUBLISHED.isdisjoint(secrets):
        return "published with this package: take one of your own"
    if any(len(secret) < ENOUGH for secret in secrets):
        return f"shorter than {ENOUGH} characters: take a longer one"
    return None
