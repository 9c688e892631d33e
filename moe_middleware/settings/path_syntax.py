"""The syntax of a route's path, with suggestions for other frameworks' syntax. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from difflib import get_close_matches
from urllib.parse import unquote

from starlette.convertors import CONVERTOR_TYPES

from .trimming import trimmed

__all__ = ["check_path", "check_syntax", "path_parameters"]


def check_path(path: str) -> str:
    """Return ``path`` if it is in Starlette's syntax and a request can have it.

    Raises:
        ValueError: It is not; the text has the path to write instead.
    """
    fault = _fault(path)
    if fault is None:
        return path
    meant = _translated(path)
    if meant != path and _fault(meant) is None:
        raise ValueError(f"{path!r} {fault}: write {meant!r}")
    raise ValueError(
        f"{path!r} {fault}: write it as in /products/{{sku}} or /{{id:int}}"
    )


def check_syntax(path: str) -> str:
    """Return ``path`` if it is in Starlette's syntax, even if no request can have it.

    Raises:
        ValueError: It is not.
    """
    if fault := _syntax_fault(path):
        raise ValueError(f"{path!r} {fault}")
    return path


def path_parameters(path: str) -> frozenset[str]:
    """Return the names of a path's parameters."""
    return frozenset(inside.partition(":")[0] for inside in _BRACES.findall(path))


_BRACES = re.compile(r"\{([^{}]*)\}")
_PARAMETER = re.compile(r"([a-zA-Z_][a-zA-Z0-9_]*)(?::([a-zA-Z_][a-zA-Z0-9_]*))?")

# Each of these would be literal text in the path, which no browser requests.
_FOREIGN: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), fault)
    for pattern, fault in (
        (r"^[a-zA-Z][a-zA-Z0-9+.-]*://", "is a whole address: a path has no host"),
        (r"\$\{", "has a variable that nothing filled in"),
        (r"\{\[|\(\?|\\|\^|\|", "is a regular expression, which no path matches"),
        (
            r"\{\s*[\w-]+\s*\?\s*\}",
            "has a parameter that may be missing: use two routes",
        ),
        (r"\?", "has a query, which is no part of a path"),
        (r"#", "has a fragment, which browsers keep to themselves"),
        (r"[<>]", "has a parameter in angle brackets, which is literal text here"),
        (r"[\[\]]", "has square brackets, which are literal text here"),
        (r"(?:^|[/.(\-])\(?:[a-zA-Z_]", "has a ':name', which is literal text here"),
        (r"\*", "has a '*', which is literal text here"),
        (r"%(?:\(\w+\))?[sdr](?=$|[/.-])", "has a '%s', which is literal text here"),
        (r"\$$|\.\+(?=$|[/)])", "is a regular expression, which no path matches"),
        (r"(?:^|/)\([^()]*\)(?:/|$)", "has a group, which is literal text here"),
        (r"%[0-9a-fA-F]{2}", "is percent-encoded, and paths are compared decoded"),
        (r"//", "has an empty segment, which servers and browsers take away"),
        (r"/\.{1,2}(?:/|$)", "has a '.' or '..', which browsers resolve"),
    )
)


def _fault(path: str) -> str | None:
    """Return the fault of a path; None if it has none."""
    if trimmed(path) != path:
        return "has a blank or a line break at its end"
    if not path.isprintable():
        return "has a control character"
    for pattern, fault in _FOREIGN:
        if pattern.search(path):
            return fault
    return _syntax_fault(path)


def _syntax_fault(path: str) -> str | None:
    """Return why Starlette would misread a path; None if it does not."""
    if not path.startswith("/"):
        return "does not start with '/'"
    outside = _BRACES.sub("", path)
    if "{" in outside or "}" in outside:
        return "has a single brace"
    names: set[str] = set()
    for inside in _BRACES.findall(path):
        parameter = _PARAMETER.fullmatch(inside)
        if parameter is None:
            return f"has {{{inside}}}, which is no parameter"
        name, converter = parameter.groups("str")
        if converter not in CONVERTOR_TYPES:
            known = ", ".join(CONVERTOR_TYPES)
            return f"has an unknown converter {converter!r}: use one of {known}"
        if name in names:
            return f"has two parameters that are called {name!r}"
        names.add(name)
    return None


# --- from the syntax of others -----------------------------------------------------

_NAME = r"[a-zA-Z_][\w-]*"
_KINDS = {
    **dict.fromkeys(("int", "integer", "number", "long", "i32", "digit"), "int"),
    **dict.fromkeys(("float", "decimal", "double"), "float"),
    **dict.fromkeys(("uuid", "guid"), "uuid"),
    **dict.fromkeys(("path", "filepath", "splat"), "path"),
    **dict.fromkeys(("str", "string", "slug", "default", "any", "alpha", "text"), ""),
}


def _parameter(name: str, kind: str = "") -> str:
    name = re.sub(r"\W", "_", name)
    return f"{{{name}:{kind}}}" if kind else f"{{{name}}}"


def _kind_of(pattern: str) -> str:
    """Return the converter nearest to a regular expression or a name."""
    pattern = pattern.strip()
    if (known := _KINDS.get(pattern.partition("(")[0].lower())) is not None:
        return known
    if re.fullmatch(r"(\\d|\[0-9\]|\[\\d\])(\+|\*|\{[\d,]*\})?", pattern):
        return "int"
    if ".*" in pattern or ".+" in pattern:
        return "path"
    near = get_close_matches(pattern.lower(), _KINDS, n=1, cutoff=0.75)
    return _KINDS[near[0]] if near else ""


def _angle(found: re.Match[str]) -> str:
    one, other = found[1], found[2]
    if one is None:
        return _parameter(other)
    if one.partition("(")[0] in _KINDS or other not in _KINDS:
        return _parameter(other, _kind_of(one))
    return _parameter(one, _kind_of(other))


def _colon(found: re.Match[str]) -> str:
    kind = "path" if found[3] in ("*", "+") else _kind_of(found[2] or "")
    return _parameter(found[1], kind)


Replacement = str | Callable[[re.Match[str]], str]

_TRANSLATIONS: tuple[tuple[re.Pattern[str], Replacement], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^[a-zA-Z][a-zA-Z0-9+.-]*://[^/]*", ""),
        (r"^(\^|\\A)|(\$|\\Z|\\z|\{\$\})$", ""),
        (r"^r?['\"]|['\"]$", ""),
        # (?P<name>...)
        (
            r"\(\?P?<(\w+)>((?:[^()]|\([^()]*\))*)\)",
            lambda found: _parameter(found[1], _kind_of(found[2])),
        ),
        (r"\\([./-])", r"\1"),
        # {name?}, {{name}}, { name }, {*name}, {**name}, {...name}, {name...}
        (r"\{\{\s*([^{}]*?)\s*\}\}", r"{\1}"),
        (rf"\{{\s*(?:\*\*?|\.\.\.)({_NAME})\s*\}}",
         lambda found: _parameter(found[1], "path")),
        (rf"\{{\s*({_NAME})\s*(?:\.\.\.|\*|\+)\s*\}}",
         lambda found: _parameter(found[1], "path")),
        (rf"\{{\s*({_NAME})\s*:\s*((?:[^{{}}]|\{{[\d,]*\}})*?)\s*\??\s*\}}[+*?]?",
         lambda found: _parameter(found[1], _kind_of(found[2]))),
        (rf"\{{\s*({_NAME})\s*\??\s*\}}[+*?]?", lambda found: _parameter(found[1])),
        # [[...name]], [...name], [name]
        (rf"\[?\[\.\.\.({_NAME})\]\]?", lambda found: _parameter(found[1], "path")),
        (rf"\[?\[({_NAME})(?:=(\w+))?\]\]?",
         lambda found: _parameter(found[1], _kind_of(found[2] or ""))),
        # <name>, <int:name>, <name:int>
        (rf"<(?:({_NAME}(?:\([^)]*\))?):)?({_NAME})>", _angle),
        # :name, :name?, :name(\d+), :name*
        (rf"(?<=[/.(\-]):({_NAME})(?:\(([^)]*)\))?([?*+])?", _colon),
        (rf"^:({_NAME})(?:\(([^)]*)\))?([?*+])?", _colon),
        # %(name)s, %s
        (rf"%\(({_NAME})\)[sr]", lambda found: _parameter(found[1])),
        (rf"%\(({_NAME})\)d", lambda found: _parameter(found[1], "int")),
        (r"%[sr](?=$|[/.-])", "{name}"),
        (r"%d(?=$|[/.-])", "{id:int}"),
        # .*, \d+, [^/]+
        (r"\(?\.[*+]\??\)?(?=$|/)", "{rest:path}"),
        (r"\(?(?:\\d|\[0-9\])[+*]\)?", "{id:int}"),
        (r"\(?(?:\[[^\]/]*\^/[^\]]*\]|\\w|\[[\\\w-]*\\w[\\\w-]*\]|\[a-z[^\]]*\])[+*]\)?",
         "{name}"),
        # *, **, *name
        (rf"\*\*?({_NAME})", lambda found: _parameter(found[1], "path")),
        (r"\*\*?$|\*\*", "{rest:path}"),
        (r"\*", "{part}"),
        (r"[?#].*$", ""),
        (r"(?<=/)\(([^(){}|]*)\)(?=/|$)", ""),
        (r"\((/?\.?\{[^{}]*\})\)", r"\1"),
    )
)  # fmt: skip


def _translated(path: str) -> str:
    """Return a path of another framework's syntax in ours, as far as that is clear."""
    path = "".join(trimmed(path).splitlines())
    # In this order: what one of them makes, such as {name}, the next ones leave alone.
    for pattern, replacement in _TRANSLATIONS:
        path = pattern.sub(replacement, path)
    path = _without_twins(unquote(path))
    ending = "/" if path.endswith(("/", "/.", "/..")) else ""
    resolved = posixpath.normpath(f"/{path.lstrip('/')}")
    return resolved if resolved == "/" else f"{resolved}{ending}"


def _without_twins(path: str) -> str:
    """Number parameters that would have the same name."""
    seen: dict[str, int] = {}

    def numbered(found: re.Match[str]) -> str:
        name, colon, kind = found[1].partition(":")
        seen[name] = seen.get(name, 0) + 1
        count = seen[name]
        return f"{{{name}{count if count > 1 else ''}{colon}{kind}}}"

    return _BRACES.sub(numbered, path)
