"""Keys that a template shows and no matching route asks for: what to do about each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from ..settings.route_sections import Route

MOST = 1_000
"""Places that are remembered; a key may be any text."""

NO_ROUTE = "name it in a route of moe.yml"


class UnaskedKeys:
    """Knows which routes ask for a key, and what was logged already.

    Args:
        routes: All of them.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        paths: dict[str, list[str]] = {}
        for route in routes:
            for key in route.experiences:
                paths.setdefault(key, []).append(route.path)
        self._paths: Mapping[str, list[str]] = paths
        self._said: set[tuple[str, str]] = set()

    def advice(self, key: str, place: str) -> str | None:
        """Return what to do about a key at a place in a template; None after once."""
        if (key, place) in self._said or len(self._said) >= MOST:
            return None
        self._said.add((key, place))
        return f"{self._about_routes(key)}, or {fetching(key)}"

    def _about_routes(self, key: str) -> str:
        if paths := self._paths.get(key):
            listed = ", ".join(dict.fromkeys(paths[:3]))
            return f"{NO_ROUTE} that matches this page; it is in that of {listed}"
        if near := get_close_matches(key, self._paths, n=1):
            return f"did you mean {near[0]!r}? If not, {NO_ROUTE}"
        return NO_ROUTE


def fetching(key: str) -> str:
    """Return how the code that runs now fetches a key."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return f"fetch it before: experiences.fetch_sync({key!r})"
    return f"fetch it before: await experiences.fetch({key!r})"
