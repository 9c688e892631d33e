"""Settings that are right one by one, and cannot work together. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel

from .mistakes import Mistake, Place
from .path_syntax import check_path, path_parameters

OWN_PATH = "/_moe"
"""Where we answer by ourselves, unless ``clicks.path`` says otherwise."""


def disagreements(given: Mapping[str, Any]) -> Iterator[Mistake]:
    """Yield what the sections of a settings file disagree about."""
    routes = given.get("routes")
    routes = list(routes) if isinstance(routes, list | tuple) else []
    yield from _unknown_parameters(given, routes)
    yield from _own_paths(given, routes)
    yield from _twins(routes)
    yield from _one_cookie(given)
    yield from _one_file(given)


def _unknown_parameters(
    given: Mapping[str, Any], routes: list[Any]
) -> Iterator[Mistake]:
    """Yield the path parameters that no route has; a route's own it checks itself."""
    known: set[str] = set()
    for route in routes:
        path = _get(route, "path")
        if isinstance(path, str):
            try:
                known |= path_parameters(check_path(path))
            except ValueError:
                return  # the path's own mistake comes first
    if not routes:
        return
    identity, attributes = given.get("identity"), given.get("attributes")
    identifiers = _get(identity, "user_identifiers")
    places: list[tuple[Place, Any]] = [
        (("identity", "customer_id"), _get(identity, "customer_id")),
        (("identity", "visitor_id"), _get(identity, "visitor_id")),
        *((("identity", "user_identifiers", n), s) for n, s in _items(identifiers)),
        *((("attributes", name), source) for name, source in _items(attributes)),
    ]
    for place, source in places:
        wanted = _get(source, "path")
        if isinstance(wanted, str) and wanted not in known:
            near = get_close_matches(wanted, sorted(known), n=1)
            about = (
                f"did you mean {near[0]!r}?"
                if near
                else f"use one of {', '.join(sorted(known))}"
                if known
                else f"write one, as in /products/{{{wanted}}}"
            )
            yield Mistake((*place, "path"), f"no route's path has {wanted!r}: {about}")


def _own_paths(given: Mapping[str, Any], routes: list[Any]) -> Iterator[Mistake]:
    own = _get(given.get("clicks"), "path") or OWN_PATH
    if not isinstance(own, str):
        return
    for index, route in enumerate(routes):
        path = _get(route, "path")
        if isinstance(path, str) and path.startswith(f"{own}/"):
            message = (
                f"{path!r} is below clicks.path, where this middleware answers by "
                "itself: take another path, or set clicks.path"
            )
            yield Mistake(("routes", index, "path"), message)


def _twins(routes: list[Any]) -> Iterator[Mistake]:
    """Yield the routes that stand there twice, word for word."""
    for index, route in enumerate(routes):
        if isinstance(route, Mapping) and route and route in routes[:index]:
            first = routes.index(route)
            message = f"the same as routes.{first}: keep one of the two"
            yield Mistake(("routes", index), message)


def _one_cookie(given: Mapping[str, Any]) -> Iterator[Mistake]:
    identity = given.get("identity")
    ours = _get(identity, "anonymous_cookie") or "moe_visitor"
    if _get(identity, "anonymous") in ("off", False):
        return
    if _get(_get(identity, "customer_id"), "cookie") == ours:
        message = (
            f"{ours!r} is identity.anonymous_cookie, in which anonymous visitors have "
            "their id: every one of them would be a customer: name the customer's own"
        )
        yield Mistake(("identity", "customer_id", "cookie"), message)


def _one_file(given: Mapping[str, Any]) -> Iterator[Mistake]:
    outbox = _get(given.get("events"), "outbox") or "sqlite:///moe-outbox.db"
    store = _get(given.get("budget"), "store")
    if store is not None and store == outbox and str(store).startswith("sqlite:"):
        message = "events.outbox is kept in this file: name another for the budget"
        yield Mistake(("budget", "store"), message)


def _get(holder: Any, name: str) -> Any:
    if isinstance(holder, BaseModel):
        return getattr(holder, name, None)
    return holder.get(name) if isinstance(holder, Mapping) else None


def _items(holder: Any) -> list[tuple[str, Any]]:
    return list(holder.items()) if isinstance(holder, Mapping) else []
