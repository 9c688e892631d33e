"""The visit of an ASGI request, read from its scope when it is needed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any

from starlette.types import Scope

from ..models.cookies import CookieReader
from ..models.visits import Visit


class ASGIVisit(Visit):
    """The visit of an ASGI request. Most pages read its headers only.

    Args:
        scope: The request's scope, with the path within the wrapped app; it must not
            change any more.
        read_cookies: Reads Cookie headers as the framework does.
    """

    def __init__(self, scope: Scope, read_cookies: CookieReader) -> None:
        # Not by Visit's own: this is made for every page.
        self._scope = scope
        self._headers = headers = scope["headers"]
        self.first_headers = dict(headers[::-1])
        self.method = scope["method"]
        self.path = scope["path"]
        self.root_path = scope.get("root_path", "")
        self.read_cookies = read_cookies
        self.values_read = {}

    @cached_property
    def query_string(self) -> bytes:  # type: ignore[override]
        query_string: bytes = self._scope.get("query_string", b"")
        return query_string

    @cached_property
    def scheme(self) -> str:  # type: ignore[override]
        scheme: str = self._scope.get("scheme", "http")
        return scheme

    @cached_property
    def peer(self) -> str | None:  # type: ignore[override]
        client = self._scope.get("client")
        return client[0] if client else None

    @cached_property
    def session(self) -> Mapping[str, Any] | None:  # type: ignore[override]
        session = self._scope.get("session")
        return MappingProxyType(session) if isinstance(session, Mapping) else session

    @cached_property
    def user(self) -> object:  # type: ignore[override]
        return self._scope.get("user")
