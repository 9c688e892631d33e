"""The visit of a WSGI request, read from its environ when it is needed."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..models.cookies import CookieReader
from ..models.visits import Visit
from .environ import headers_of, latin, method_of, path_of, text_of

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


class WSGIVisit(Visit):
    """The visit of a WSGI request. Most pages read its headers only.

    Args:
        environ: The request's environ; it must not change any more.
        read_cookies: Reads Cookie headers as the framework does.
    """

    def __init__(self, environ: WSGIEnvironment, read_cookies: CookieReader) -> None:
        # Not by Visit's own: this is made for every page.
        self._environ = environ
        self._headers = headers = headers_of(environ)
        self.first_headers = dict(headers[::-1])
        self.method = method_of(environ)
        self.path = path_of(environ)
        self.root_path = text_of(environ.get("SCRIPT_NAME", ""))
        self.read_cookies = read_cookies
        self.values_read = {}

    @cached_property
    def query_string(self) -> bytes:  # type: ignore[override]
        return latin(self._environ.get("QUERY_STRING", ""))

    @cached_property
    def scheme(self) -> str:  # type: ignore[override]
        return str(self._environ.get("wsgi.url_scheme", "http"))

    @cached_property
    def peer(self) -> str | None:  # type: ignore[override]
        return self._environ.get("REMOTE_ADDR") or None

    @cached_property
    def session(self) -> Any:  # type: ignore[override]
        return self._environ.get(SESSION)

    @cached_property
    def user(self) -> object:  # type: ignore[override]
        return None


class WebObVisit(WSGIVisit):
    """The visit of a Pyramid app: for WebOb, a comma or backslash ends any value."""

    def cookie(self, name: str) -> str | None:
        if self._cookies is None:
            header = self.first_headers.get(b"cookie")
            self._cookies = {} if header is None else self.read_cookies([header])
        return self._cookies.get(name)


SESSION = "beaker.session"
"""The key of the environ with a WSGI middleware's session."""
