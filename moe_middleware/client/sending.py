"""Sends one request and reads its response, on our own connections or through httpx."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.request import getproxies, proxy_bypass

from ..models.errors import AnswerError, MoEngageError, TransportError
from ..network.addresses import URL
from ..network.http import Headers, KeptConnections
from ..network.http_responses import BadResponseError, Response, encoding_of
from ..settings.import_strings import load_target
from ..settings.settings import Settings
from ..version import __version__

if TYPE_CHECKING:
    import httpx

    from .by_httpx import HTTPXTransport

    TransportFactory = Callable[[], httpx.AsyncBaseTransport]
    Transport = KeptConnections | HTTPXTransport

SANDBOX_TRANSPORT = "moe_middleware.sandbox:embedded_transport"


def transport_maker(
    settings: Settings, url: URL, given: TransportFactory | None
) -> Callable[[], Transport]:
    """Return a function that makes a client's transport.

    Args:
        url: An address of the API.
        given: The user's function that makes a transport, if there is one.

    Raises:
        TypeError: ``given`` is no function; or, when called, its result is no httpx
            transport.
    """
    proxy = _proxy(url) if settings.fetch.trust_env else None
    embedded = settings.workspace.embedded
    if given is None and not embedded and proxy is None:
        limit = settings.fetch.max_connections
        return lambda: KeptConnections(max_connections=limit)
    from .by_httpx import checked, through

    if given is not None:
        return checked(given)
    if embedded or proxy is None:
        return lambda: checked(load_target(SANDBOX_TRANSPORT))()
    return lambda: through(proxy)


def fixed_headers(url: URL, workspace_id: str, api_key: str) -> Headers:
    """Return the headers that all requests with one key share."""
    credentials = b64encode(f"{workspace_id}:{api_key}".encode())
    return [
        (b"Host", url.authority),
        (b"Authorization", b"Basic " + credentials),
        (b"MOE-APPKEY", workspace_id.encode()),
        (b"Content-Type", b"application/json"),
        (b"Accept", b"application/json"),
        # A compressed response could expand to any size.
        (b"Accept-Encoding", b"identity"),
        (b"User-Agent", f"moe_middleware/{__version__}".encode()),
    ]


@lru_cache(maxsize=64)
def joined_url(url: URL, endpoint: str) -> URL:
    """Return an endpoint's URL; parsing it for each request is slow."""
    return URL.parse(url.text + endpoint)


async def close(transport: Transport) -> None:
    """Close a transport on its own event loop."""
    await transport.aclose()
    # Its sockets are closed in the event loop's next turn.
    await asyncio.sleep(0)


def abandon(transport: Transport) -> None:
    """Free the sockets of a transport whose event loop is closed."""
    if isinstance(transport, KeptConnections):
        transport.abandon()


async def send(
    transport: Transport,
    method: str,
    url: URL,
    headers: Headers,
    body: bytes,
    *,
    timeout: float,
) -> Response:
    """Send a request and return its response, read to its end.

    Args:
        headers: All headers, including Host and Content-Length.
        timeout: In seconds, for httpx's transports; the caller cancels ours.

    Raises:
        DeadlineError: The transport timed out.
        AnswerError: The response is no HTTP, or too large.
        TransportError: The connection failed.
    """
    try:
        if isinstance(transport, KeptConnections):
            return await transport.send(method, url, headers, body)
        return await transport.send(method, url, headers, body, timeout=timeout)
    except MoEngageError:
        raise
    except BadResponseError as error:
        raise AnswerError(str(error)) from error
    except Exception as error:
        # A user's transport may raise anything.
        raise TransportError(f"no connection: {type(error).__name__}") from error


def plain_body(response: Response, *, taken: bool) -> bytes:
    """Return an uncompressed body; a compressed one could expand to any size.

    Args:
        taken: Whether a 200 is enough, whatever the body.

    Raises:
        AnswerError: It is compressed, and needed beside the status.
    """
    encoding = encoding_of(response.headers)
    if not encoding:
        return response.body
    status = response.status
    if status in (401, 403, 429) or status >= 500 or (taken and status == 200):
        return b""
    raise AnswerError(
        f"the answer is encoded as {encoding[:20]!r}, and none was asked for: "
        "let no proxy compress it"
    )


def is_receipt(response: Response, body: bytes) -> bool:
    """Whether a 200 to a report is the API's: JSON, or empty, as in older documents.

    A network's login page and a site's catch-all page are 200s, too.

    Args:
        response: The response with status 200.
        body: Its uncompressed body.
    """
    kind = response.headers.get("content-type", "")
    return "html" not in kind.lower() and body.lstrip()[:1] in (b"", b"{")


def _proxy(url: URL) -> str | None:
    return None if proxy_bypass(url.host) else getproxies().get(url.scheme)
