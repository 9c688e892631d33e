"""Adds our headers to a Django response, and counts when it has ended."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any, Self, TypeGuard, cast
from weakref import ref

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from ..browser.html_endings import OF_THE_BODY, EndingWriter
from ..logs.log_lines import one_line
from ..models.texts import Headers
from ..personalizer.current import current
from .pages import DjangoPage

logger = logging.getLogger(__name__)

Change = Callable[[Headers], Headers]
Found = Callable[[], HttpResponseBase | None]


def send_off(
    page: DjangoPage, request: HttpRequest, response: HttpResponseBase
) -> None:
    """Add our headers to a response, and a hook for its end."""
    change_headers(response, partial(page.response_headers, final=False))
    page.keeps_private()
    writer = _writer_of(page, response)
    page.change_headers = partial(_change_if_there, ref(response))
    ending = _Ending(page, response)
    if _streams(response):
        ending.complete = False
        content: Any = response.streaming_content
        watched = _watched_async if isinstance(content, AsyncIterator) else _watched
        response.streaming_content = watched(
            content, page, ref(response), ending, writer
        )
    elif writer is not None:
        whole = cast(HttpResponse, response)
        writer.look_at(whole.content)
        whole.content += writer.end()
    response._resource_closers.append(ending)  # type: ignore[attr-defined]
    ends = _RequestEnding(request, ending)
    request.close = ends  # type: ignore[method-assign]


def _streams(response: HttpResponseBase) -> TypeGuard[StreamingHttpResponse]:
    # A file is passed to the server unchanged, which may send it by itself.
    return response.streaming and getattr(response, "file_to_stream", None) is None


def _writer_of(page: DjangoPage, response: HttpResponseBase) -> EndingWriter | None:
    """Return what adds to the end of a page, and drop what describes a shorter one."""
    if not page.has_ending:
        return None
    given = [(name, response[name]) for name in _READ if name in response]
    headers = [(name.encode(), value.encode("latin-1")) for name, value in given]
    writer = page.ending_for(response.status_code, headers)
    if writer is not None and hasattr(response, "file_to_stream"):
        page.miss_ending("file")
        return None
    if writer is not None:
        for name in OF_THE_BODY:
            del response[name.decode()]
    return writer


_READ = (
    *("Content-Type", "Content-Encoding", "Content-Disposition"),
    "Content-Security-Policy",
)
"""The headers that decide what is added to a page."""


def change_headers(response: HttpResponseBase, change: Change) -> bool:
    """Let ``change`` change a response's headers; return whether it did."""
    given = [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in response.items()
    ]
    for morsel in response.cookies.values():
        given.append((b"set-cookie", morsel.OutputString().encode("latin-1")))
    if not response.streaming:
        # Django adds it later; without it the response would look like a stream.
        given.append((b"content-length", b""))
    wanted = change(given)
    if wanted is given:
        return False
    known = {(name.lower(), value) for name, value in given}
    changed = False
    for name, value in wanted:
        if (name.lower(), value) in known:
            continue
        changed = True
        title, text = name.decode("latin-1").title(), value.decode("latin-1")
        if name == b"set-cookie":
            response.cookies.load(text)
        elif name == b"server-timing" and title in response.headers:
            response.headers[title] += f", {text}"
        else:
            response.headers[title] = text
    return changed


def _change_if_there(found: Found, change: Change) -> bool:
    response = found()
    return response is not None and change_headers(response, change)


class _NotKept:
    """Survives Django's caches: it is copied as itself, and pickled as nothing."""

    __slots__ = ()

    def __deepcopy__(self, _: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # A function of Python's that does nothing: a cache works without this package.
        return partial, (bool,)


class _Ending(_NotKept):
    """Counts what was shown once the server has closed the response.

    Attributes:
        complete: Whether the whole body was passed on.
    """

    __slots__ = ("_page", "_response", "_status", "complete")

    def __init__(self, page: DjangoPage, response: HttpResponseBase) -> None:
        self._page = page
        self._response = ref(response)
        self._status: int = response.status_code
        self.complete = True

    def __call__(self) -> None:
        page = self._page
        if page.ended:
            return
        response = self._response()
        status = self._status if response is None else response.status_code
        # For these, the server may not read the body.
        if self.complete or status in (204, 304):
            page.record(status)
        page.end()

    def take_place(self, request: HttpRequest) -> None:
        """Handle the end of a request that was answered by another response than ours.

        Django's ConditionalGetMiddleware makes a new response for a 304.
        """
        page = self._page
        if page.ended:
            return
        if _is_conditional(request):
            page.record(304)
        elif shown := page.shown:
            keys = ",".join(one_line(one.key) for one in shown)
            logger.info(
                "response_replaced keys=%s: a middleware above ours answered with "
                "another response, so nothing counts: let it change the one it got",
                keys,
            )
        page.end()


class _RequestEnding(_NotKept):
    """A request's ``close``, which the response that answers it calls."""

    __slots__ = ("_earlier", "_ending", "_request")

    def __init__(self, request: HttpRequest, ending: _Ending) -> None:
        self._request = request
        self._earlier = request.__dict__.get("close")
        self._ending = ending

    def __call__(self) -> None:
        request = self._request
        self._ending.take_place(request)
        # Break the reference cycle.
        request.__dict__.pop("close", None)
        (self._earlier or request.close)()


def _is_conditional(request: HttpRequest) -> bool:
    headers = request.META
    return "HTTP_IF_NONE_MATCH" in headers or "HTTP_IF_MODIFIED_SINCE" in headers


def _leave(page: DjangoPage, response: HttpResponseBase | None) -> None:
    sent = "" if response is None else response.get("Cache-Control", "")
    page.headers_leave(sent)


def _watched(
    parts: Iterator[bytes],
    page: DjangoPage,
    response: Found,
    ending: _Ending,
    writer: EndingWriter | None,
) -> Iterator[bytes]:
    """Yield the parts of a body, each made with the page's experiences as current."""
    _leave(page, response())
    while True:
        token = current.set(page)
        try:
            part = next(parts)
        except StopIteration:
            break
        finally:
            current.reset(token)
        if writer is not None:
            writer.look_at(part)
        yield part
    ending.complete = True
    if writer is not None:
        yield writer.end()


async def _watched_async(
    parts: AsyncIterator[bytes],
    page: DjangoPage,
    response: Found,
    ending: _Ending,
    writer: EndingWriter | None,
) -> AsyncIterator[bytes]:
    _leave(page, response())
    while True:
        token = current.set(page)
        try:
            part = await anext(parts)
        except StopAsyncIteration:
            break
        finally:
            current.reset(token)
        if writer is not None:
            writer.look_at(part)
        yield part
    ending.complete = True
    if writer is not None:
        yield writer.end()
