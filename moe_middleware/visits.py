"""What one request tells about its visitor, parsed only as far as it is asked."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from .models import EMPTY


class Visit:
    """A request, read-only, the same for ASGI and WSGI. Callables in settings get it.

    Attributes:
        method: The HTTP method in upper case.
        path: The path within the wrapped app, without its ``root_path``.
        root_path: Where the wrapped app is mounted, as in ``/shop``; else empty.
        scheme: ``http`` or ``https``.
        peer: The address of the connection's other end; None where unknown.
        path_params: The parameters of the routes that matched, merged.
        session: The framework's session, where one is installed outside of us.
        user: The framework's user object, where one is installed outside of us.
    """

    __slots__ = (
        "_cookies",
        "_headers",
        "_query",
        "_query_string",
        "method",
        "path",
        "path_params",
        "peer",
        "root_path",
        "scheme",
        "session",
        "user",
    )

    def __init__(
        self,
        *,
        method: str = "GET",
        path: str = "/",
        root_path: str = "",
        headers: Iterable[tuple[bytes, bytes]] = (),
        query_string: bytes = b"",
        scheme: str = "http",
        peer: str | None = None,
        path_params: Mapping[str, Any] = EMPTY,
        session: Mapping[str, Any] | None = None,
        user: object | None = None,
    ) -> None:
        self.method = method
        self.path = path
        self.root_path = root_path
        self.scheme = scheme
        self.peer = peer
        self.path_params = path_params
        self.session = session
        self.user = user
        self._headers = headers
        self._query_string = query_string
        self._cookies: dict[str, str] | None = None
        self._query: dict[str, str] | None = None

    def headers(self, name: str) -> list[str]:
        """Return every value of a header, in the order received."""
        wanted = name.lower().encode("latin-1")
        return [
            value.decode("latin-1") for key, value in self._headers if key == wanted
        ]

    def any_of(self, names: Container[bytes]) -> list[str]:
        """Return the values of all headers with one of these lower-case names."""
        return [value.decode("latin-1") for key, value in self._headers if key in names]

    def header(self, name: str) -> str | None:
        """Return a header's first value, or None."""
        wanted = name.lower().encode("latin-1")
        for key, value in self._headers:
            if key == wanted:
                return value.decode("latin-1")
        return None

    def cookie(self, name: str) -> str | None:
        """Return a cookie's value, or None."""
        if self._cookies is None:
            self._cookies = _parse_cookies(self.headers("cookie"))
        return self._cookies.get(name)

    def query(self, name: str) -> str | None:
        """Return the first value of a query parameter, or None."""
        if not self._query_string:
            return None
        if self._query is None:
            pairs = parse_qsl(
                self._query_string.decode("latin-1"),
                keep_blank_values=True,
                max_num_fields=None,
            )
            self._query = dict(reversed(pairs))
        return self._query.get(name)


def _parse_cookies(lines: Iterable[str]) -> dict[str, str]:
    """Read cookies as browsers send them: first of a name wins, quotes go."""
    cookies: dict[str, str] = {}
    for line in lines:
        for part in line.split(";"):
            name, found, value = part.partition("=")
            if found and (name := name.strip()) not in cookies:
                cookies[name] = value.strip().strip('"')
    return cookies
