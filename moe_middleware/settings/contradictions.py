"""Finds settings that are valid one by one but contradict each other. Pure: no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from difflib import get_close_matches
from typing import Any

from starlette.convertors import CONVERTOR_TYPES

from .path_syntax import check_path, path_parameters
from .validation import Mistake, Place, suggestion, value_in
from .value_sources import KINDS

OWN_PATH = "/_moe"
"""The default of ``clicks.path``, below which the middleware has its own endpoints."""


SDK_COOKIE = "moe_uuid"
"""The cookie of the default ``identity.visitor_id``."""


def contradictions(given: Mapping[str, Any]) -> Iterator[Mistake]:
    """Yield the contradictions between the sections of a settings file."""
    routes = given.get("routes")
    routes = list(routes) if isinstance(routes, list | tuple) else []
    yield from _unknown_parameters(given, routes)
    yield from _own_paths(given, routes)
    yield from _twins(routes)
    yield from _idle_exclusions(routes)
    yield from _one_cookie(given)
    yield from _one_source(given)
    yield from _one_file(given)
    yield from _unsigned_beacons(given, routes)


def unknown_names(
    known: Set[str], lists: Iterable[tuple[Place, tuple[str, ...] | None]]
) -> Iterator[Mistake]:
    """Yield each name in a ``vary`` that is no attribute: it has no effect.

    Args:
        known: The names of all attributes.
        lists: The place and the names of each ``vary``.
    """
    for place, names in lists:
        for at, name in enumerate(names or ()):
            if name not in known:
                about = suggestion(name, sorted(known), kind="attribute")
                yield Mistake((*place, at), about)


def _unknown_parameters(
    given: Mapping[str, Any], routes: list[Any]
) -> Iterator[Mistake]:
    """Yield path parameters that no route has; each route checks its own."""
    known: set[str] = set()
    for route in routes:
        path = value_in(route, "path")
        if isinstance(path, str):
            try:
                known |= path_parameters(check_path(path))
            except ValueError:
                return  # the path's own mistake comes first
    if not routes:
        return
    identity, attributes = given.get("identity"), given.get("attributes")
    identifiers = value_in(identity, "user_identifiers")
    places: list[tuple[Place, Any]] = [
        (("identity", "customer_id"), value_in(identity, "customer_id")),
        (("identity", "visitor_id"), value_in(identity, "visitor_id")),
        *((("identity", "user_identifiers", n), s) for n, s in _items(identifiers)),
        *((("attributes", name), source) for name, source in _items(attributes)),
    ]
    for place, source in places:
        wanted = value_in(source, "path")
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
    own = value_in(given.get("clicks"), "path") or OWN_PATH
    if not isinstance(own, str):
        return
    for index, route in enumerate(routes):
        path = value_in(route, "path")
        if isinstance(path, str) and path.startswith(f"{own}/"):
            message = (
                f"{path!r} is below clicks.path, where this middleware answers by "
                "itself: take another path, or set clicks.path"
            )
            yield Mistake(("routes", index, "path"), message)


def _twins(routes: list[Any]) -> Iterator[Mistake]:
    """Yield the routes that are listed twice."""
    for index, route in enumerate(routes):
        if isinstance(route, Mapping) and route and route in routes[:index]:
            first = routes.index(route)
            message = f"the same as routes.{first}: keep one of the two"
            yield Mistake(("routes", index), message)


def _idle_exclusions(routes: list[Any]) -> Iterator[Mistake]:
    """Yield the excluded paths that the route never matches."""
    for index, route in enumerate(routes):
        path, excluded = value_in(route, "path"), value_in(route, "exclude")
        if not isinstance(path, str) or not isinstance(excluded, list | tuple):
            continue
        for at, other in enumerate(excluded):
            if isinstance(other, str) and _never_meet(path, other):
                message = (
                    f"{other!r} is no path of {path!r}: leave it out, or write it as a "
                    "part of what the route is for"
                )
                yield Mistake(("routes", index, "exclude", at), message)


def _never_meet(path: str, other: str) -> bool:
    """Whether no request can match both paths; False if that is uncertain."""
    try:
        one, two = check_path(path).split("/"), check_path(other).split("/")
    except ValueError:
        return False  # the path's own mistake comes first
    for part, opposite in zip(one, two, strict=False):
        if _may_hold_slashes(part) or _may_hold_slashes(opposite):
            return False
        if not (_takes(part, opposite) or _takes(opposite, part)):
            return True
    return len(one) != len(two)


_PARAMETER = re.compile(r"\{\w+(?::(\w+))?\}")


def _may_hold_slashes(part: str) -> bool:
    kinds = {kind or "str" for kind in _PARAMETER.findall(part)}
    return not kinds <= {"str", "int", "float", "uuid"}


def _takes(part: str, text: str) -> bool:
    """Whether a part can match a text; two parts with parameters always can."""
    if "{" in part and "{" in text:
        return True
    whole = _PARAMETER.fullmatch(part)
    if whole is None:
        return part == text or "{" in part
    return re.fullmatch(CONVERTOR_TYPES[whole[1] or "str"].regex, text) is not None


def _one_source(given: Mapping[str, Any]) -> Iterator[Mistake]:
    """Yield sources that two settings share, so that one of them is wrong."""
    identity = given.get("identity")
    customer = value_in(identity, "customer_id")
    visitor = value_in(identity, "visitor_id") or {"cookie": SDK_COOKIE}
    consent = value_in(given.get("consent"), "given_by")
    for kind in KINDS:
        name = value_in(customer, kind)
        if name is None or kind in ("value", "call"):
            continue
        if name == value_in(visitor, kind):
            message = (
                f"{name!r} is where visitor_id comes from: every visitor would be a "
                "customer: name the customer's own, or see anonymous_as"
            )
            yield Mistake(("identity", "customer_id", kind), message)
        if name == value_in(consent, kind):
            message = (
                f"{name!r} is where customer_id comes from: its value would be an "
                "answer and an id at once: name the consent's own"
            )
            yield Mistake(("consent", "given_by", kind), message)


def _one_cookie(given: Mapping[str, Any]) -> Iterator[Mistake]:
    identity = given.get("identity")
    ours = value_in(identity, "anonymous_cookie") or "moe_visitor"
    if value_in(identity, "anonymous") in ("off", False):
        return
    if value_in(value_in(identity, "customer_id"), "cookie") == ours:
        message = (
            f"{ours!r} is identity.anonymous_cookie, in which anonymous visitors have "
            "their id: every one of them would be a customer: name the customer's own"
        )
        yield Mistake(("identity", "customer_id", "cookie"), message)


def _one_file(given: Mapping[str, Any]) -> Iterator[Mistake]:
    outbox = value_in(given.get("events"), "outbox") or "sqlite:///moe-outbox.db"
    store = value_in(given.get("budget"), "store")
    if store is not None and store == outbox and str(store).startswith("sqlite:"):
        message = "events.outbox is kept in this file: name another for the budget"
        yield Mistake(("budget", "store"), message)


def _unsigned_beacons(given: Mapping[str, Any], routes: list[Any]) -> Iterator[Mistake]:
    for index, route in enumerate(routes):
        if value_in(route, "impression") == "visible" and not given.get("secret_key"):
            yield Mistake(
                ("routes", index, "impression"),
                "'visible' needs a secret_key, because browsers' reports must be "
                "signed: give one (or MOE_SECRET_KEY)",
            )


def _items(holder: Any) -> list[tuple[str, Any]]:
    return list(holder.items()) if isinstance(holder, Mapping) else []
