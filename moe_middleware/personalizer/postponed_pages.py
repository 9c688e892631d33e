"""A page whose visitor is read within the framework's own request, and not before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..models.texts import Headers
from .page import Page


class PostponedPage(Page):
    """A page that can be prefetched later: where its framework has read the request.

    Attributes:
        waits: Whether it has routes, and nobody has prefetched it yet.
    """

    _postponed: tuple[str, str] | None = None
    waits = False

    def find_routes(self, method: str, path: str) -> bool:
        """Leave it to ``begin``."""
        self._postponed = method, path
        return False

    def begin(self) -> None:
        """Find the routes, and note who the session is of before the app changes it."""
        if self._postponed is not None:
            (method, path), self._postponed = self._postponed, None
            self.waits = super().find_routes(method, path)

    @property
    def pending(self) -> Sequence[str]:
        self.begin()
        if self.waits and self._match is not None:
            return self._match.experiences
        return super().pending

    def response_headers(self, headers: Headers, *, final: bool = True) -> Headers:
        self.begin()
        return super().response_headers(headers, final=final)


def lacking(
    app: Any, signed_cookies: type, absent: Mapping[str, str]
) -> Mapping[str, str]:
    """Return what an app has no source of, with what to do about each.

    Args:
        app: The app, of Flask's or Quart's.
        signed_cookies: Its framework's own kind of sessions.
        absent: What it lacks besides.
    """
    if app.secret_key or not isinstance(app.session_interface, signed_cookies):
        return absent
    return {**absent, "session": _NO_SESSION}


_NO_SESSION = (
    "this app has no secret key, so its session is always empty: set "
    "app.secret_key or SECRET_KEY"
)
