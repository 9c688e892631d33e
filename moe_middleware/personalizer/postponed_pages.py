"""Pages that are prefetched within the framework's own request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..models.texts import Headers
from .page import Page


class PostponedPage(Page):
    """A page that can be prefetched later, when its framework has read the request.

    Attributes:
        waits: Whether it has routes and was not prefetched yet.
    """

    _postponed: tuple[str, str] | None = None
    waits = False

    def find_routes(self, method: str, path: str) -> bool:
        """Postpone it to ``begin``."""
        self._postponed = method, path
        return False

    def begin(self) -> None:
        """Find the routes, and read the session's customer before the app runs."""
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
    """Return advice on the kinds of sources that an app does not have.

    Args:
        app: The Flask or Quart app.
        signed_cookies: The type of its framework's default sessions.
        absent: Advice on further kinds.
    """
    if app.secret_key or not isinstance(app.session_interface, signed_cookies):
        return absent
    return {**absent, "session": _NO_SESSION}


_NO_SESSION = (
    "this app has no secret key, so its session is always empty: set "
    "app.secret_key or SECRET_KEY"
)
