"""Advice on keys that a template shows and no matching route requests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from ..settings.route_sections import Route

MAX_LOGGED = 1_000
"""The most places that are logged."""

NO_ROUTE = "name it in a route of moe.yml"


class UnaskedKeys:
    """Returns advice on a key once for each place.

    Args:
        routes: All routes.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        paths: dict[str, list[str]] = {}
        for route in routes:
            for key in route.experiences:
                paths.setdefault(key, []).append(route.path)
        self._paths: Mapping[str, list[str]] = paths
        self._logged: set[tuple[str, str]] = set()

    def advice(self, key: str, place: str) -> str | None:
        """Return advice on a key at a place in a template; None if given before."""
        # A template may make keys of a request's text: the set must not grow.
        if (key, place) in self._logged or len(self._logged) >= MAX_LOGGED:
            return None
        self._logged.add((key, place))
        return f"{self._about_routes(key)}, or {fetching(key)}"

    def _about_routes(self, key: str) -> str:
        if paths := self._paths.get(key):
            listed = ", ".join(dict.fromkeys(paths[:3]))
            return f"{NO_ROUTE} that matches this page; it is in that of {listed}"
        if near := get_close_matches(key, self._paths, n=1):
            return f"did you mean {near[0]!r}? If not, {NO_ROUTE}"
        return NO_ROUTE


def fetching(key: str) -> str:
    """Return how the running code can fetch a key: with await, or without."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return f"fetch it before: experiences.fetch_sync({key!r})"
    return f"fetch it before: await experiences.fetch({key!r})"
