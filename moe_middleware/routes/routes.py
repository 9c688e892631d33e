"""Finds the experiences that a request wants, by its path. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, TypeVar

from starlette.convertors import (
    PathConvertor,
    StringConvertor,
)

from ..models.experiences import Counting
from ..settings.route_sections import Route
from .patterns import Pattern
from .segments import SegmentTrie

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """All routes that match one request; falsy if they have no experience.

    Attributes:
        experiences: The keys of all routes, in file order, each once.
        routes: The routes with their path parameters, in file order.
        path_params: The parameters of all routes; the later route wins.
        timeout: In seconds, from the last route that sets one.
        prefetch: Likewise.
        vary: Likewise.
        impression: When impressions count, likewise.
    """

    experiences: tuple[str, ...]
    routes: tuple[tuple[Route, Mapping[str, Any]], ...]
    path_params: Mapping[str, Any]
    timeout: float | None
    prefetch: str | None
    vary: Collection[str] | None
    impression: Counting | None

    def __bool__(self) -> bool:
        return bool(self.experiences)


class RouteTable:
    """The routes of a settings file; the time of a lookup does not grow with them.

    Fixed paths are in a dictionary, the others in a trie of their segments. The trie
    finds candidates, which Starlette's own regex confirms.

    Raises:
        ValueError: A route's path is not Starlette's syntax.

    Attributes:
        asks_host: Whether any route depends on the host.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        entries = [_Entry(index, route) for index, route in enumerate(routes)]
        named = {method for entry in entries for method in entry.methods or ()}
        # One trie per method, so that the method costs no time.
        self._by_method = {method: _Paths(entries, method) for method in named}
        self._other_methods = _Paths(entries, None)
        self.asks_host = any(entry.hosted for entry in entries)

    def match(self, method: str, path: str, host: str | None = None) -> Match | None:
        """Return the routes that match a request, or None.

        Args:
            method: In upper case.
            path: Within the app and decoded, as ``route_path`` returns it.
            host: The Host header, with or without its port.
        """
        paths = self._by_method.get(method, self._other_methods)
        fixed = paths.fixed.get(path)
        if fixed is not None:
            made = fixed.match
            return made if made is not None else _build(fixed.entries, path, host)
        heads = paths.heads
        if heads is not None and path[1:].partition("/")[0] not in heads:
            # No route's, as most paths of a site.
            return None
        if path[-1:] == "\n":
            # A regex's "$" allows one newline after it, as in Starlette.
            return _build(paths.entries, path, host)
        found = paths.loose.find(path)
        return _build(found, path, host) if found else None


def route_path(path: str, root_path: str) -> str:
    """Return the path within the wrapped app, without the prefix it is mounted at.

    If the path does not begin with ``root_path``, the server has removed it already.
    """
    prefix = root_path.rstrip("/")
    if prefix and path.startswith(prefix):
        rest = path[len(prefix) :]
        if not rest or rest[0] == "/":
            path = rest
    return path or "/"


class _Entry:
    """A route, compiled."""

    __slots__ = (
        "_converts",
        "_domains",
        "_excluded",
        "_hosts",
        "experiences",
        "hosted",
        "index",
        "methods",
        "pattern",
        "route",
    )

    def __init__(self, index: int, route: Route) -> None:
        self.index = index
        self.route = route
        self.experiences = tuple(dict.fromkeys(route.experiences))
        self.methods = _with_head(route.methods)
        self.hosted = route.hosts is not None
        hosts = [host.lower() for host in route.hosts or ()]
        self._hosts = frozenset(host for host in hosts if not host.startswith("*."))
        self._domains = tuple(host[1:] for host in hosts if host.startswith("*."))
        self.pattern = Pattern(route.path)
        self._excluded = [Pattern(path) for path in route.exclude]
        self._converts = [
            (name, convertor.convert)
            for name, convertor in self.pattern.convertors.items()
            if type(convertor) not in (StringConvertor, PathConvertor)
        ]

    @property
    def fixed(self) -> bool:
        return not self.pattern.convertors and not self._excluded

    def answers(self, host: str | None) -> bool:
        name = (host or "").lower()
        # The port follows an IPv6 address in brackets, or any other name.
        if not name.endswith("]"):
            name = name.partition("]:")[0] + "]" if "]:" in name else name.split(":")[0]
        name = name.removesuffix(".")
        return name in self._hosts or name.endswith(self._domains)

    def params(self, path: str) -> Mapping[str, Any] | None:
        """Return the path's parameters; None if it does not match."""
        matched = self.pattern.match(path)
        if matched is None or any(one.match(path) for one in self._excluded):
            return None
        params: dict[str, Any] = matched.groupdict()
        try:
            for name, convert in self._converts:
                params[name] = convert(params[name])
        except ValueError:
            return None  # for example an int of 5,000 digits
        return params


class _Paths:
    """The routes of one method, by path.

    Attributes:
        entries: All of them, in file order.
        fixed: Those that match a path without parameters, by that path.
        loose: Those with parameters.
        heads: The first segments of all paths, also with a newline after them;
            None if one of them begins with a parameter.
    """

    __slots__ = ("entries", "fixed", "heads", "loose")

    def __init__(self, entries: Iterable[_Entry], method: str | None) -> None:
        self.entries: list[_Entry] = []
        self.fixed: dict[str, _Fixed] = {}
        self.loose = SegmentTrie[_Entry]()
        for entry in entries:
            if entry.methods is None or method in entry.methods:
                self._add(entry)
        self.heads = _heads(entry.route.path for entry in self.entries)
        for path, fixed in self.fixed.items():
            fixed.complete(path, self.loose.find(path))

    def _add(self, entry: _Entry) -> None:
        path = entry.route.path
        self.entries.append(entry)
        if entry.fixed and not path.endswith("\n"):
            self.fixed.setdefault(path, _Fixed()).entries.append(entry)
        else:
            self.loose.add(path, entry, entry.pattern.crossing)


def _heads(paths: Iterable[str]) -> frozenset[str] | None:
    first = [path[1:].partition("/")[0] for path in paths]
    if any("{" in segment for segment in first):
        return None
    # A request's path may end with a newline.
    return frozenset([*first, *(f"{segment}\n" for segment in first)])


class _Fixed:
    """The routes that may match one fixed path.

    Attributes:
        entries: The routes.
        match: Their match, made in advance; None if it depends on the host.
    """

    __slots__ = ("entries", "match")

    def __init__(self) -> None:
        self.entries: list[_Entry] = []
        self.match: Match | None = None

    def complete(self, path: str, loose: Iterable[_Entry]) -> None:
        """Add the routes with parameters that may match the path as well."""
        self.entries += loose
        if not any(entry.hosted for entry in self.entries):
            self.match = _build(self.entries, path, None)


def _build(entries: Sequence[_Entry], path: str, host: str | None) -> Match | None:
    if len(entries) > 1:
        # The trie finds them in no order, and the file's order decides.
        entries = sorted(entries, key=attrgetter("index"))
    matched: list[tuple[_Entry, Mapping[str, Any]]] = []
    for entry in entries:
        if entry.hosted and not entry.answers(host):
            continue
        params = entry.params(path)
        if params is not None:
            matched.append((entry, params))
    return _merge(matched) if matched else None


def _merge(matched: Sequence[tuple[_Entry, Mapping[str, Any]]]) -> Match:
    # One route is the rule.
    last, path_params = matched[-1]
    if len(matched) == 1:
        return Match(
            experiences=last.experiences,
            routes=((last.route, path_params),),
            path_params=path_params,
            timeout=last.route.timeout,
            prefetch=last.route.prefetch,
            vary=last.route.vary,
            impression=last.route.impression,
        )
    routes = [entry.route for entry, _ in matched]
    return Match(
        experiences=tuple(
            dict.fromkeys(key for entry, _ in matched for key in entry.experiences)
        ),
        routes=tuple((entry.route, params) for entry, params in matched),
        path_params={name: params[name] for _, params in matched for name in params},
        timeout=_last(route.timeout for route in routes),
        prefetch=_last(route.prefetch for route in routes),
        vary=_last(route.vary for route in routes),
        impression=_last(route.impression for route in routes),
    )


def _last(options: Iterable[T | None]) -> T | None:
    """Return the last value that is set."""
    return next((one for one in reversed([*options]) if one is not None), None)


def _with_head(methods: Collection[str] | None) -> frozenset[str] | None:
    if methods is None:
        return None
    named = {method.upper() for method in methods}
    return frozenset(named | {"HEAD"} if "GET" in named else named)
