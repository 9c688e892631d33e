"""The app's body on its way to the server, with the experiences to its end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..models.experiences import Experiences
from ..personalizer.current import current
from .response import Response


class Body:
    """The app's body, as lazy as it was, with the request's experiences to its end."""

    __slots__ = ("_body", "complete", "experiences", "response")

    def __init__(
        self, body: Iterable[bytes], experiences: Experiences, response: Response
    ) -> None:
        self._body = body
        self.response = response
        self.experiences = experiences
        self.complete: bool | None = None

    def __iter__(self) -> Iterator[bytes]:
        token = current.set(self.experiences)
        try:
            return _Parts(self, iter(self._body))
        finally:
            current.reset(token)

    def close(self) -> None:
        token = current.set(self.experiences)
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            current.reset(token)
            self.response.end(complete=self.complete)


class _Parts:
    """One pass through a body; asked again for an iterator, it goes on where it is."""

    __slots__ = ("_body", "_parts")

    def __init__(self, body: Body, parts: Iterator[bytes]) -> None:
        self._body = body
        self._parts = parts

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        body = self._body
        body.complete = False
        token = current.set(body.experiences)
        try:
            part = next(self._parts)
        except StopIteration:
            if body.response.is_begun:
                body.response.leave()
            badge = body.response.badge
            if badge is not None and (last := badge.end()):
                return last
            body.complete = True
            raise
        finally:
            current.reset(token)
            if body.response.is_begun:
                body.response.leave()
        if body.response.badge is not None:
            body.response.badge.look_at(part)
        return part


class SizedBody(Body):
    """One whose length a server may ask for, to work out the Content-Length."""

    __slots__ = ()
    _body: list[bytes]

    def __len__(self) -> int:
        return len(self._body)


class FileWrapper:
    """A server's function that wraps files; ``isinstance`` knows what it made last.

    It may return anything, as uWSGI's does the file itself.
    """

    __slots__ = ("_made", "_wrap")

    def __init__(self, wrap: Callable[..., object]) -> None:
        self._wrap = wrap
        self._made: object = None

    def __call__(self, *args: object, **kwargs: object) -> object:
        self._made = self._wrap(*args, **kwargs)
        return self._made

    def __instancecheck__(self, body: object) -> bool:
        return body is self._made is not None


def is_file(body: object, wrapper: Any) -> bool:
    """Whether the server knows this body as a file that it sends by itself."""
    return wrapper is not None and isinstance(body, wrapper)
