"""Checks the names of cookies, headers, query parameters ... Pure: no I/O."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from .import_strings import is_target
from .trimming import trimmed
from .validation import shown, value_in

_TOKEN = re.compile(r"[!#$%&'*+.^`|~0-9A-Za-z-]+")


def check_source_name(kind: str, name: str) -> None:
    """Check that a request can have this name.

    Raises:
        ValueError: It cannot; the text has the name to write instead.
    """
    if kind in ("value", "call"):
        return
    if name != trimmed(name) or not name:
        inner = trimmed(name)
        about = f": write {kind}: {inner}" if inner else ""
        raise ValueError(f"{kind}: {name!r} has blanks for a name or around it{about}")
    if not name.isprintable():
        raise ValueError(f"{kind}: {name!r} has a control character: remove it")
    match kind:
        case "header":
            fault = _header_fault(name)
        case "cookie":
            fault = _cookie_fault(name)
        case "query":
            fault = _query_fault(name)
        case "path":
            fault = _parameter_fault(name)
        case _:
            fault = _attribute_fault(kind, name)
    if fault is not None:
        raise ValueError(f"{kind}: {name!r} {fault}")


def no_source(given: Any, kinds: tuple[str, ...]) -> str:
    """Return a sentence on a value that is no value source."""
    if callable(given):
        example = "{'call': function}"
    elif not isinstance(given, str) or not given.strip() or len(given) > 60:
        example = "{cookie: name}"
    elif is_target(given):
        example = f"{{call: {given!r}}}"
    elif re.fullmatch(r"[Xx]-[\w-]+|[A-Z]\w*(-[A-Z]\w*)+", given):
        example = f"{{header: {given}}}"
    else:
        example = f"{{cookie: {given}}}"
    return (
        f"{shown(given)} does not say where the value comes from: write {example}, "
        f"with one of {', '.join(kinds)}"
    )


def _header_fault(name: str) -> str | None:
    if name.upper().startswith("HTTP_") or (name.isupper() and "_" in name):
        right = re.sub(r"^HTTP_", "", name.upper()).replace("_", "-").title()
        return f"is its name in WSGI's environ: write {right}"
    if "_" in name:
        right = name.replace("_", "-")
        return f"has a '_', which servers drop or change: write {right}"
    if not _TOKEN.fullmatch(name):
        right = re.sub(r"\W+", "-", name.split(":")[0].strip()).strip("-")
        about = f": write {right}" if right else ""
        return f"is no header's name{about}"
    return None


def _cookie_fault(name: str) -> str | None:
    found = re.search(r"[=;\s]", name)
    if found is None:
        return None
    right = re.split(r"[=;\s]", re.sub(r"(?i)^(set-)?cookie:\s*", "", name))[0]
    about = f": write {right}" if right else ""
    return f"is no cookie's name{about}"


def _query_fault(name: str) -> str | None:
    right = re.split("[&=]", name.lstrip("?&"))[0]
    if right != name:
        return f"is more than a parameter's name: write {right or 'its name'}"
    if re.search(r"%[0-9A-Fa-f]{2}", name):
        return (
            f"is percent-encoded, and names are compared decoded: write {unquote(name)}"
        )
    return None


def _parameter_fault(name: str) -> str | None:
    right = re.sub(r"\W.*", "", name.strip("{<>}:[]"))
    return None if right == name else f"is no parameter's name: write {right or 'sku'}"


def _attribute_fault(kind: str, name: str) -> str | None:
    if name.endswith(")"):
        return "is a call: write call: 'pkg.mod:function', a function of your own"
    for prefix in ("request.", "self.", f"request.{kind}.", f"{kind}."):
        if name.startswith(prefix) and kind == "user":
            right = re.sub(rf"^(request\.|self\.)?({kind}\.)?", "", name)
            return f"begins before the {kind}: write {right}"
    if kind == "user" and ("" in name.split(".") or "[" in name):
        return "is no attribute's name: write it as in profile.id"
    if name.startswith("request.session"):
        return "begins before the session: write the key alone"
    return None


def source_name(source: Any, kind: str) -> str | None:
    """Return the name of a source if it is of this kind; it may be unchecked yet."""
    name = value_in(source, kind)
    return name if isinstance(name, str) else None
