"""One request and its visitor, parsed only as far as needed."""

from __future__ import annotations

import re
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
)
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from .cookies import CookieReader, starlette_cookies
from .experience import EMPTY
from .texts import decoded

T = TypeVar("T")


class Visit:
    """A read-only request, the same for ASGI and WSGI; settings' callables receive it.

    Attributes:
        method: The HTTP method in upper case.
        first_headers: The first value of every header, by its lower-case name.
        path: The path within the wrapped app, without its ``root_path``.
        root_path: The prefix at which the wrapped app is mounted, as in ``/shop``, or
            "".
        query_string: The query string, as received.
        scheme: ``http`` or ``https``.
        peer: The address of the connection's other end; None if unknown.
        path_params: The parameters of the routes that matched, merged; set
            once they are found.
        session: The framework's session, if one is installed outside of this
            middleware.
        user: The framework's user, if one is installed outside of this middleware.
        absent: Advice for each of ``session`` and ``user`` that the request does not
            have.
        in_thread: Turns a sync function that may query a database into an async one
            that runs in a thread; None runs it in place.
        read_cookies: Reads Cookie headers as the framework does.
        values_read: The values of the app's own functions, by their readers.
    """

    path_params: Mapping[str, Any] = EMPTY
    absent: Mapping[str, str] = EMPTY
    in_thread: Callable[[Callable[..., Any]], Callable[..., Awaitable[Any]]] | None
    in_thread = None
    _cookies: dict[str, str] | None = None
    _query: dict[str, bytes] | None = None

    def __init__(
        self,
        *,
        method: str = "GET",
        path: str = "/",
        root_path: str = "",
        headers: Collection[tuple[bytes, bytes]] = (),
        query_string: bytes = b"",
        scheme: str = "http",
        peer: str | None = None,
        session: Mapping[str, Any] | None = None,
        user: object | None = None,
        absent: Mapping[str, str] = EMPTY,
        in_thread: Callable[[Callable[..., Any]], Callable[..., Awaitable[Any]]]
        | None = None,
        read_cookies: CookieReader = starlette_cookies,
    ) -> None:
        self.method = method
        self.path = path
        self.root_path = root_path
        self.scheme = scheme
        self.peer = peer
        self.session = session
        self.user = user
        self.absent = absent
        self.in_thread = in_thread
        self.read_cookies = read_cookies
        self.values_read: dict[object, object] = {}
        self._headers = headers
        # Reversed, so that the first of two wins.
        self.first_headers = dict([*headers][::-1])
        self.query_string = query_string

    @property
    def all_headers(self) -> Iterable[tuple[bytes, bytes]]:
        """Every header, as received; names in lower case."""
        return self._headers

    def headers(self, name: str) -> list[str]:
        """Return every value of a header, in the order received."""
        wanted = name.lower().encode("latin-1")
        return [
            value.decode("latin-1") for key, value in self._headers if key == wanted
        ]

    def header(self, name: str) -> str | None:
        """Return a header's first value, or None."""
        value = self.first_headers.get(_lower(name))
        return None if value is None else value.decode("latin-1")

    def cookie(self, name: str) -> str | None:
        """Return a cookie's value, or None."""
        if self._cookies is None:
            header = self.first_headers.get(_COOKIE)
            if header is None:
                return None
            named = _named(name)
            # With as many names as headers, no header came twice.
            if named and len(self.first_headers) == len(self._headers):
                before, found, after = header.partition(named)
                # Most requested cookies are absent, or as browsers usually send them:
                # once, in usual characters and unquoted. All but WebOb read the same.
                if not found and named[:-1] not in header:
                    return None
                starts = not before or before[-2:] == b"; "
                if found and starts and named not in after and b'"' not in header:
                    value = after.partition(b";")[0]
                    if not value.translate(None, _USUAL):
                        return value.decode()
            lines = [value for key, value in self._headers if key == _COOKIE]
            self._cookies = self.read_cookies(lines)
        return self._cookies.get(name)

    def query(self, name: str) -> str | None:
        """Return the first value of a query parameter, or None."""
        if not self.query_string:
            return None
        if self._query is None:
            pairs = [part.partition(b"=") for part in self.query_string.split(b"&")]
            self._query = {
                # Reversed, so that the first of two wins.
                _unquoted(key): value
                for key, _, value in reversed(pairs)
                if key
            }
        value = self._query.get(name)
        return None if value is None else _unquoted(value)


_COOKIE = b"cookie"


# Names come from the code and the settings, so there are few.
@lru_cache(maxsize=1024)
def _lower(name: str) -> bytes:
    return name.lower().encode("latin-1", "replace")


@lru_cache(maxsize=1024)
def _named(name: str) -> bytes | None:
    """Return a cookie's name with ``=``; None if the standard forbids the name."""
    return f"{name}=".encode() if _TOKEN.fullmatch(name) else None


# Litestar decodes percents, and werkzeug ends a value at a blank.
_USUAL = bytes(set(range(0x21, 0x7F)) - {*b"%"})

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def _unquoted(raw: bytes) -> str:
    return decoded(unquote_to_bytes(raw.replace(b"+", b" ")))


class LazySession(Mapping[str, Any]):
    """A framework's session, which is opened when it is first read."""

    def reading(self, read: Callable[[Any], T]) -> T:
        """Return what ``read`` returns for the session."""
        raise NotImplementedError

    def __getitem__(self, name: str) -> Any:
        return self.reading(lambda session: session[name])

    def __iter__(self) -> Iterator[str]:
        return self.reading(lambda session: iter([*session.keys()]))

    def __len__(self) -> int:
        return self.reading(lambda session: len(session.keys()))
