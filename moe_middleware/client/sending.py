"""One request and its response, over our own connections or through httpx.

httpx is the seam for transports of the user's own, and for proxies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from urllib.request import getproxies, proxy_bypass

import httpx

from ..models.errors import AnswerError, DeadlineError, MoEngageError, TransportError
from ..network.http import Headers, KeptConnections
from ..network.http_responses import MAX_BODY, Response
from ..settings.import_strings import load_target
from ..settings.settings import Settings

PIECES_AT_ONCE = 256
"""Pieces of a response after which others have a turn."""

SANDBOX_TRANSPORT = "moe_middleware.sandbox:embedded_transport"

TransportFactory = Callable[[], httpx.AsyncBaseTransport]
Transport = KeptConnections | httpx.AsyncBaseTransport


def checked(factory: TransportFactory) -> Callable[[], Transport]:
    """Return what calls a user's ``transport``, and checks what it makes.

    Raises:
        TypeError: It is no function; or, when called, makes no httpx transport.
    """
    if not callable(factory):
        raise TypeError(_WRONG_TRANSPORT.format("is", _type_name(factory)))

    def make() -> Transport:
        made = factory()
        if not isinstance(made, Transport):
            raise TypeError(_WRONG_TRANSPORT.format("makes", _type_name(made)))
        return made

    return make


def default_transport(settings: Settings) -> Transport:
    """Return a new transport for a client that is given none."""
    if settings.workspace.embedded:
        embedded: httpx.AsyncBaseTransport = load_target(SANDBOX_TRANSPORT)()
        return embedded
    proxy = (
        _proxy(httpx.URL(settings.workspace.url)) if settings.fetch.trust_env else None
    )
    if proxy is not None:
        return httpx.AsyncHTTPTransport(trust_env=False, proxy=proxy)
    return KeptConnections(max_connections=settings.fetch.max_connections)


async def close(transport: Transport) -> None:
    """Close a transport on its own event loop."""
    await transport.aclose()
    # Its sockets are closed in the event loop's next turn.
    await asyncio.sleep(0)


def abandon(transport: Transport) -> None:
    """Free what can be freed of a transport whose event loop is closed."""
    if isinstance(transport, KeptConnections):
        transport.abandon()


async def send(
    transport: Transport,
    method: str,
    url: httpx.URL,
    headers: Headers,
    body: bytes,
    *,
    timeout: float,
) -> Response:
    """Send a request and return its response, read to its end.

    Args:
        headers: All of them, Host and Content-Length too.
        timeout: In seconds, for httpx's transports; ours are cancelled by the caller.

    Raises:
        DeadlineError: The transport gave up.
        AnswerError: What came is no HTTP, or too much of it.
        TransportError: No connection, or it broke.
    """
    try:
        if isinstance(transport, KeptConnections):
            return await transport.send(method, url, headers, body)
        return await _send_by_httpx(transport, method, url, headers, body, timeout)
    except MoEngageError:
        raise
    except httpx.TimeoutException as error:
        raise DeadlineError("the connection timed out") from error
    except httpx.DecodingError as error:
        raise AnswerError(str(error)) from error
    except Exception as error:
        # A transport of the user's own may raise anything.
        raise TransportError(f"no connection: {type(error).__name__}") from error


def plain_body(response: Response, *, taken: bool) -> bytes:
    """Return a body that is not packed: a packed one may be of any size.

    Args:
        taken: Whether a 200 says everything, whatever its body holds.

    Raises:
        AnswerError: It is packed, and holds what the status does not say.
    """
    encoding = _encoding(response.headers)
    if not encoding:
        return response.body
    status = response.status
    if status in (401, 403, 413, 429) or status >= 500 or (taken and status == 200):
        return b""
    raise AnswerError(
        f"the answer is encoded as {encoding[:20]!r}, and none was asked for: "
        "let no proxy compress it"
    )


def is_receipt(response: Response, body: bytes) -> bool:
    """Whether a 200 to a report is the API's: JSON, or nothing, as in older documents.

    A login page of the network's and a site's page for everything are 200s, too.

    Args:
        response: The 200.
        body: What of its body is not packed.
    """
    kind = response.headers.get("content-type", "")
    return "html" not in kind.lower() and body.lstrip()[:1] in (b"", b"{")


async def _send_by_httpx(
    transport: httpx.AsyncBaseTransport,
    method: str,
    url: httpx.URL,
    headers: Headers,
    body: bytes,
    timeout: float,
) -> Response:
    request = httpx.Request(
        method,
        url,
        headers=headers,
        stream=httpx.ByteStream(body),
        extensions={"timeout": dict.fromkeys(_TIMEOUTS, timeout)},
    )
    answer = await transport.handle_async_request(request)
    try:
        found = dict(answer.headers)
        content = b"" if _encoding(found) else await _read(answer)
        return Response(answer.status_code, found, content)
    finally:
        await answer.aclose()


async def _read(response: httpx.Response) -> bytes:
    parts: list[bytes] = []
    size = 0
    # A transport of the user's own may bring it whole.
    whole = response.is_stream_consumed
    async for part in response.aiter_bytes() if whole else response.aiter_raw():
        size += len(part)
        parts.append(part)
        if size > MAX_BODY:
            raise AnswerError(f"the answer is larger than {MAX_BODY} bytes")
        if not len(parts) % PIECES_AT_ONCE:
            await asyncio.sleep(0)
    return b"".join(parts)


def _encoding(headers: Mapping[str, str]) -> str:
    """Return how a body is packed; empty where it is not."""
    encoding = headers.get("content-encoding", "").strip().lower()
    return "" if encoding == "identity" else encoding


def _proxy(url: httpx.URL) -> str | None:
    return None if proxy_bypass(url.host) else getproxies().get(url.scheme)


def _type_name(value: object) -> str:
    """Return a type by its full name: httpx and httpx2 have the same ones."""
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


_WRONG_TRANSPORT = (
    "transport {} {}: it must be a function that makes an httpx.AsyncBaseTransport, "
    "as in transport=lambda: httpx.AsyncHTTPTransport(verify=context)"
)

_TIMEOUTS = ("connect", "read", "write", "pool")
