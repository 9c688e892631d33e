"""What goes without a secret key, and what makes one a bad one. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterable

WITHOUT = "click links stay plain, attrs() and script() empty, previews refused"
"""What it means that there is no secret key."""

ENOUGH = 32
"""Characters; random ones of base 64 are then 192 bits, and hexadecimal ones 128."""

PUBLISHED = frozenset({"please-take-a-secret-of-your-own", "known-to-all-the-world"})
"""What the README and the demo have in its place."""


def weakness(secrets: Iterable[str]) -> str | None:
    """Return what is wrong with the worst of some secret keys, in a few words."""
    secrets = [*secrets]
    if not PUBLISHED.isdisjoint(secrets):
        return "published with this package: take one of your own"
    if any(len(secret) < ENOUGH for secret in secrets):
        return f"shorter than {ENOUGH} characters: take a longer one"
    return None
