"""Reads cookies as the app's framework does, so that both see the same values. Pure.

Frameworks differ in which of two cookies of one name counts, in the characters of
quoted values, and in bytes beyond ASCII. Only Litestar decodes percent-encoding.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from urllib.parse import unquote_to_bytes

from .texts import decoded

CookieReader = Callable[[Iterable[bytes]], dict[str, str]]
"""Reads the values of all Cookie headers of a request."""


def starlette_cookies(lines: Iterable[bytes]) -> dict[str, str]:
    """Read cookies as Starlette, and Django under ASGI: the last of a name counts."""
    text = b";".join(lines).decode("latin-1")
    cookies: dict[str, str] = {}
    quoted = '"' in text
    for part in text.split(";"):
        name, named, value = part.partition("=")
        if named:
            value = value.strip()
            cookies[name.strip()] = _unquoted(value) if quoted else value
    return cookies


def django_cookies(lines: Iterable[bytes]) -> dict[str, str]:
    """Read cookies as Django under WSGI: as Starlette, but in UTF-8."""
    cookies: dict[str, str] = {}
    for line in lines:
        if line.isascii():
            cookies |= starlette_cookies([line])
            continue
        for part in line.split(b";"):
            name, named, value = decoded(part).partition("=")
            if named:
                cookies[name.strip()] = _unquoted(value.strip())
    return cookies


def werkzeug_cookies(lines: Iterable[bytes]) -> dict[str, str]:
    """Read cookies as werkzeug, for Flask and Quart: the first of a name counts."""
    cookies: dict[str, str] = {}
    text, at = b";".join(lines).decode("latin-1"), 0
    while at < len(text):
        found = _PAIR.match(text, at)
        if found is None:
            # Up to the next semicolon, it counts as no cookie.
            at = text.find(";", at) + 1 or len(text)
            continue
        at = found.end()
        name, value = found.groups("")
        if name not in cookies:
            cookies[name] = _unquoted_bytes(value) if value[:1] == '"' else value
    return cookies


def litestar_cookies(lines: Iterable[bytes]) -> dict[str, str]:
    """Read cookies as Litestar: of the first header alone, with percents decoded."""
    cookies = starlette_cookies([*lines][:1])
    return {name: decoded(unquote_to_bytes(cookies[name])) for name in cookies}


def sanic_cookies(lines: Iterable[bytes]) -> dict[str, str]:
    """Read cookies as Sanic: as Starlette, but the first of a name counts."""
    # Backwards, so that the first of a name is read last, and counts.
    return starlette_cookies(b";".join(lines).split(b";")[::-1])


def falcon_cookies(lines: Iterable[bytes]) -> dict[str, str]:
    """Read cookies as Falcon: as Sanic, but a name without ``=`` is an empty value."""
    parts = b";".join(lines).split(b";")
    return sanic_cookies(part if b"=" in part else part + b"=" for part in parts)


def bottle_cookies(lines: Iterable[bytes]) -> dict[str, str]:
    """Read cookies as Bottle, by Python's own reader.

    One malformed cookie makes Bottle drop all; they are read as Starlette reads them.
    """
    header = b"; ".join(lines)
    with suppress(CookieError):
        found = SimpleCookie(header.decode("latin-1"))
        return starlette_cookies([header]) | {one: found[one].value for one in found}
    return starlette_cookies([header])


def webob_cookies(lines: Iterable[bytes]) -> dict[str, str]:
    """Read cookies as Pyramid, by its own WebOb; as Starlette where that raises."""
    from webob.cookies import RequestCookies  # type: ignore[import-untyped]

    header = b"; ".join(lines)
    cookies = RequestCookies({"HTTP_COOKIE": header.decode("latin-1")})
    with suppress(UnicodeDecodeError):
        return starlette_cookies([header]) | dict(cookies.items())
    return starlette_cookies([header])


def asgi_cookies(app: object) -> CookieReader:
    """Return the reader of an ASGI app's framework; Starlette's if it is unknown."""
    return _reader_of(app, _ASGI, starlette_cookies)


def wsgi_cookies(app: object) -> CookieReader:
    """Return the reader of a WSGI app's framework; werkzeug's if it is unknown."""
    return _reader_of(app, _WSGI, werkzeug_cookies)


def _reader_of(
    app: object, readers: Mapping[str, CookieReader], usual: CookieReader
) -> CookieReader:
    """Return the reader for an app's class, or for the framework's that it extends."""
    frameworks = [kind.__module__.partition(".")[0] for kind in type(app).__mro__]
    return next((readers[one] for one in frameworks if one in readers), usual)


_ASGI: dict[str, CookieReader] = {
    "falcon": falcon_cookies,
    "litestar": litestar_cookies,
    "quart": werkzeug_cookies,
    "sanic": sanic_cookies,
}
_WSGI: dict[str, CookieReader] = {
    "bottle": bottle_cookies,
    "django": django_cookies,
    "falcon": falcon_cookies,
    "pyramid": webob_cookies,
}


def _unquoted(value: str) -> str:
    """Undo the escapes of Python's http.cookies: ``\\374`` is one character."""
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value
    return _ESCAPED.sub(_character, value[1:-1])


def _character(escaped: re.Match[str]) -> str:
    octal, character = escaped.groups()
    return character or chr(int(octal, 8))


def _unquoted_bytes(value: str) -> str:
    """Undo the escapes of werkzeug: ``\\303\\274`` is one character."""
    if not value.isascii() or "\\" in value:
        # Each escape is a byte of UTF-8.
        raw = _ESCAPED_BYTE.sub(_byte, value[1:-1].encode())
        return decoded(raw)
    return value[1:-1]


def _byte(escaped: re.Match[bytes]) -> bytes:
    octal, byte = escaped.groups()
    return byte or bytes((int(octal, 8),))


_ESCAPED = re.compile(r"\\(?:([0-3][0-7][0-7])|(.))")
_ESCAPED_BYTE = re.compile(rb"\\(?:([0-3][0-7][0-7])|(.))")

_PAIR = re.compile(
    r'[ \t]*([^ \t=";]+)[ \t]*'
    r'(?:=[ \t]*("(?:[^"\\]|\\.)*"|[^ \t";]*)[ \t]*)?(?:;|\Z)'
)
