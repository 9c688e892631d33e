"""Sends requests through httpx: on transports that the user gives, and through proxies.

The client imports it only if one of these is used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx

from ..models.errors import AnswerError, DeadlineError
from ..network.addresses import URL
from ..network.http import Headers
from ..network.http_responses import MAX_BODY, Response, encoding_of

PIECES_AT_ONCE = 256
"""Pieces of a response after which other tasks have a turn."""


class HTTPXTransport:
    """Sends requests through an httpx transport."""

    def __init__(self, wrapped: httpx.AsyncBaseTransport) -> None:
        self._wrapped = wrapped

    async def send(
        self, method: str, url: URL, headers: Headers, body: bytes, *, timeout: float
    ) -> Response:
        """Send a request and return its response, read to its end.

        Raises:
            DeadlineError: The transport timed out.
            AnswerError: The response is no HTTP, or too large.
            Exception: Any other error of the transport.
        """
        request = httpx.Request(
            method,
            url.text,
            headers=headers,
            stream=httpx.ByteStream(body),
            extensions={"timeout": dict.fromkeys(_TIMEOUTS, timeout)},
        )
        try:
            answer = await self._wrapped.handle_async_request(request)
            try:
                found = dict(answer.headers)
                content = b"" if encoding_of(found) else await _read(answer)
                return Response(answer.status_code, found, content)
            finally:
                await answer.aclose()
        except httpx.TimeoutException as error:
            raise DeadlineError("the connection timed out") from error
        except httpx.DecodingError as error:
            raise AnswerError(str(error)) from error

    async def aclose(self) -> None:
        """Close the transport."""
        await self._wrapped.aclose()


def checked(factory: object) -> Callable[[], HTTPXTransport]:
    """Wrap a user's ``transport`` function with a check of its result.

    Raises:
        TypeError: It is no function; or, when called, its result is no httpx transport.
    """
    if not callable(factory):
        raise TypeError(_WRONG_TRANSPORT.format("is", _type_name(factory)))

    def make() -> HTTPXTransport:
        made = factory()
        if not isinstance(made, httpx.AsyncBaseTransport):
            raise TypeError(_WRONG_TRANSPORT.format("makes", _type_name(made)))
        return HTTPXTransport(made)

    return make


def through(proxy: str) -> HTTPXTransport:
    """Return a transport that sends everything through a proxy."""
    # The environment was asked before: it named this proxy.
    return HTTPXTransport(httpx.AsyncHTTPTransport(trust_env=False, proxy=proxy))


async def _read(response: httpx.Response) -> bytes:
    parts: list[bytes] = []
    size = 0
    # A user's transport may have read the body already.
    whole = response.is_stream_consumed
    async for part in response.aiter_bytes() if whole else response.aiter_raw():
        size += len(part)
        parts.append(part)
        if size > MAX_BODY:
            raise AnswerError(f"the answer is larger than {MAX_BODY} bytes")
        if not len(parts) % PIECES_AT_ONCE:
            await asyncio.sleep(0)
    return b"".join(parts)


def _type_name(value: object) -> str:
    """Return a type's full name: httpx and httpx2 have types of the same names."""
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


_WRONG_TRANSPORT = (
    "transport {} {}: it must be a function that makes an httpx.AsyncBaseTransport, "
    "as in transport=lambda: httpx.AsyncHTTPTransport(verify=context)"
)

_TIMEOUTS = ("connect", "read", "write", "pool")
