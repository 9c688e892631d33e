"""The app's body, made with the request's experiences as the current ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ..models.experiences import SENT, Experiences
from ..personalizer.current import enter, leave
from .response import Response


class Body:
    """The app's body; while it makes a part, the request's experiences are current.

    Attributes:
        response: The response of this body.
        complete: Whether the server has read it to the end; None before the first part.
    """

    __slots__ = ("_body", "complete", "experiences", "response")

    def __init__(
        self, body: Iterable[bytes], experiences: Experiences, response: Response
    ) -> None:
        self._body = body
        self.response = response
        self.experiences = experiences
        self.complete: bool | None = None

    def __iter__(self) -> Iterator[bytes]:
        token = enter(self.experiences)
        try:
            return _Parts(self, iter(self._body))
        finally:
            leave(token)

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        token = enter(self.experiences)
        try:
            if close is not None:
                if self.complete:
                    # No visitor sees what is shown from here on.
                    self.experiences.phase = SENT
                close()
        finally:
            leave(token)
            self.response.end(complete=self.complete)


class _Parts:
    """An iterator over a body's parts; ``iter`` returns itself."""

    __slots__ = ("_body", "_parts")

    def __init__(self, body: Body, parts: Iterator[bytes]) -> None:
        self._body = body
        self._parts = parts

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        body = self._body
        body.complete = False
        token = enter(body.experiences)
        try:
            part = next(self._parts)
        except StopIteration:
            if body.response.is_begun:
                body.response.leave()
            ending = body.response.ending
            if ending is not None and (last := ending.end()):
                return last
            body.complete = True
            raise
        finally:
            leave(token)
            if body.response.is_begun:
                body.response.leave()
        if body.response.ending is not None:
            body.response.ending.look_at(part)
        return part


class SizedBody(Body):
    """A body with a length, from which servers compute the Content-Length."""

    __slots__ = ()
    _body: list[bytes]

    def __len__(self) -> int:
        return len(self._body)


class ListBody(SizedBody):
    """A list of parts: none of the app's code runs while the server reads it."""

    __slots__ = ()

    def __iter__(self) -> Iterator[bytes]:
        self.complete = False
        yield from self._body
        self.complete = True

    def close(self) -> None:
        self.response.end(complete=self.complete)


class FileWrapper:
    """A ``wsgi.file_wrapper`` that is a function; its last result is an instance.

    The result may be of any type: uWSGI's is the file itself.
    """

    __slots__ = ("_last", "_wrap")

    def __init__(self, wrap: Callable[..., object]) -> None:
        self._wrap = wrap
        self._last: object = None

    def __call__(self, *args: object, **kwargs: object) -> object:
        self._last = self._wrap(*args, **kwargs)
        return self._last

    def __instancecheck__(self, body: object) -> bool:
        return body is self._last is not None
