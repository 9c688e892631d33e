"""Settings that are right one by one, and cannot work together. Pure: no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel
from starlette.convertors import CONVERTOR_TYPES

from ..routes.path_syntax import check_path, path_parameters
from .validation import Mistake, Place

OWN_PATH = "/_moe"
"""Where we answer by ourselves, unless ``clicks.path`` says otherwise."""


SDK_COOKIE = "moe_uuid"
"""Where the visitor's id comes from, unless ``identity.visitor_id`` says otherwise."""


def disagreements(given: Mapping[str, Any]) -> Iterator[Mistake]:
    """Yield what the sections of a settings file disagree about."""
    routes = given.get("routes")
    routes = list(routes) if isinstance(routes, list | tuple) else []
    yield from _unknown_parameters(given, routes)
    yield from _own_paths(given, routes)
    yield from _twins(routes)
    yield from _idle_exclusions(routes)
    yield from _one_cookie(given)
    yield from _one_source(given)
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


def _idle_exclusions(routes: list[Any]) -> Iterator[Mistake]:
    """Yield the excluded paths that a route does not have anyway."""
    for index, route in enumerate(routes):
        path, excluded = _get(route, "path"), _get(route, "exclude")
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
    """Whether no request can have both paths; False for what cannot be known."""
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
    """Whether a part of a path may be the other's; of two with parameters any may."""
    if "{" in part and "{" in text:
        return True
    whole = _PARAMETER.fullmatch(part)
    if whole is None:
        return part == text or "{" in part
    return re.fullmatch(CONVERTOR_TYPES[whole[1] or "str"].regex, text) is not None


def _one_source(given: Mapping[str, Any]) -> Iterator[Mistake]:
    """Yield the ids that would be taken from what is not the customer's own."""
    identity = given.get("identity")
    customer = _get(identity, "customer_id")
    visitor = _get(identity, "visitor_id") or {"cookie": SDK_COOKIE}
    consent = _get(given.get("consent"), "given_by")
    for kind in ("cookie", "header", "query", "session", "user"):
        name = _get(customer, kind)
        if name is None:
            continue
        if name == _get(visitor, kind):
            message = (
                f"{name!r} is where visitor_id comes from: every visitor would be a "
                "customer: name the customer's own, or see anonymous_as"
            )
            yield Mistake(("identity", "customer_id", kind), message)
        if name == _get(consent, kind):
            message = (
                f"{name!r} is where customer_id comes from: its value would be an "
                "answer and an id at once: name the consent's own"
            )
            yield Mistake(("consent", "given_by", kind), message)


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
