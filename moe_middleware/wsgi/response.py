"""One WSGI response: it holds the start back for our headers, and counts at the end."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import wait
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ..browser.html_endings import EndingWriter, for_longer_body
from ..models.texts import Headers
from ..personalizer.current import KEY
from ..personalizer.page import Page

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

INVALIDATION_TIMEOUT = 1.0
"""Seconds that a response waits at most for the pending invalidation in the shared
cache, which takes milliseconds."""


class _Headers:
    """A response's headers, as the app gave them and as bytes.

    Attributes:
        plain: The valid ones, as bytes.
    """

    __slots__ = ("_given", "_odd", "plain")

    def __init__(self, given: list[tuple[str, str]]) -> None:
        self._given = given
        self._odd: list[tuple[str, str]] = []
        self.plain: Headers = []
        for header in given:
            try:
                name, value = header
                self.plain.append((name.encode("latin-1"), value.encode("latin-1")))
            except (AttributeError, TypeError, ValueError):
                # The server refuses it, or not.
                self._odd.append(header)

    def changed_to(self, made: Headers) -> list[tuple[str, str]]:
        """Return the headers for the server; the app's own list if nothing changed."""
        plain = self.plain
        if made is plain:
            return self._given
        if not self._odd and made[: len(plain)] == plain:
            # Ours follow the app's, as they usually do.
            return [*self._given, *map(_as_text, made[len(plain) :])]
        return [*map(_as_text, made), *self._odd]


@lru_cache(maxsize=256)
def _as_text(header: tuple[bytes, bytes]) -> tuple[str, str]:
    name, value = header
    return name.decode("latin-1"), value.decode("latin-1")


class _Start(NamedTuple):
    """A response's start that the server has not got yet."""

    status: str
    headers: _Headers
    made: Headers
    use: tuple[bool, ...]
    exc_info: OptExcInfo | None


class Response:
    """Passes a response's start on with our headers, and counts at its end.

    The server gets the start when the app returns from the call in which it began:
    until then the app may read experiences, which changes the headers.

    Attributes:
        is_begun: Whether there is a start that the server has not got yet.
        ending: Adds to the end of an HTML page; None if there is nothing to add.
    """

    is_begun = False
    ending: EndingWriter | None = None
    _given: _Start | None = None
    _write: Callable[[bytes], object] | None = None
    _left = False
    _status = 0
    _ended = False

    def __init__(
        self, page: Page, environ: WSGIEnvironment, start_response: StartResponse
    ) -> None:
        self._page = page
        self._environ = environ
        self._start_response = start_response

    def start(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: OptExcInfo | None = None,
    ) -> Callable[[bytes], object]:
        if exc_info is None and self.is_begun:
            # The server refuses a second start without an error.
            self.leave()
        self._status = _code(status)
        # Made here, where a framework still has its request's context.
        page, ours = self._page, _Headers(headers)
        made = page.response_headers(ours.plain, final=False)
        self._given = _Start(status, ours, made, page.use, exc_info)
        self.is_begun = True
        if self._left:
            self.leave()
        return self.write

    def write(self, data: bytes) -> object:
        self.leave()
        assert self._write is not None
        if self.ending is not None:
            self.ending.look_at(data)
        return self._write(data)

    def leave(self) -> None:
        """Pass the start to the server, if there is a new one."""
        start, page = self._given, self._page
        if start is None:
            return
        self._given, self._left, self.is_begun = None, True, False
        made = start.made
        if page.use != start.use:
            made = page.response_headers(start.headers.plain, final=False)
        page.headers_left(start.headers.plain)
        if page.forgetting is not None:
            # The next page may be another process's, and must not find the old answers.
            wait((page.forgetting,), INVALIDATION_TIMEOUT)
        if page.has_ending:
            self.ending = page.ending_for(self._status, made)
        if self.ending is not None:
            made = for_longer_body(made)
        headers = start.headers.changed_to(made)
        if start.exc_info is None:
            self._write = self._start_response(start.status, headers)
        else:
            self._write = self._start_response(start.status, headers, start.exc_info)

    def end(self, *, complete: bool | None) -> None:
        """Count what was shown if the server got the whole body; at the first call.

        Args:
            complete: Whether it did; None if it read no part of the body.
        """
        if self._ended:
            return
        self._ended = True
        if complete is None:
            complete = self._status in (204, 304)
        if complete:
            self._page.record(self._status)
        self._page.end()
        # The environ may be handled again.
        self._environ.pop(KEY, None)


def _code(status: str) -> int:
    """Return a status line's number; 0 for one that the server will refuse."""
    try:
        return int(status[:3])
    except (TypeError, ValueError):
        return 0
