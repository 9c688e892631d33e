"""One request and its response, over our own connections or through httpx."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.request import getproxies, proxy_bypass

from ..models.errors import AnswerError, MoEngageError, TransportError
from ..network.addresses import URL
from ..network.http import Headers, KeptConnections
from ..network.http_responses import BadResponseError, Response, encoding_of
from ..settings.import_strings import load_target
from ..settings.settings import Settings

if TYPE_CHECKING:
    import httpx

    from .by_httpx import HTTPXTransport

    TransportFactory = Callable[[], httpx.AsyncBaseTransport]
    Transport = KeptConnections | HTTPXTransport

SANDBOX_TRANSPORT = "moe_middleware.sandbox:embedded_transport"


def transport_maker(
    settings: Settings, url: URL, given: TransportFactory | None
) -> Callable[[], Transport]:
    """Return what makes a client's transport for one event loop.

    Args:
        url: An address of the API.
        given: Makes the transport of the user's own, if there is one.

    Raises:
        TypeError: ``given`` is no function; or, when called, makes no httpx transport.
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
    url: URL,
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
        return await transport.send(method, url, headers, body, timeout=timeout)
    except MoEngageError:
        raise
    except BadResponseError as error:
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
    """Whether a 200 to a report is the API's: JSON, or nothing, as in older documents.

    A login page of the network's and a site's page for everything are 200s, too.

    Args:
        response: The 200.
        body: What of its body is not packed.
    """
    kind = response.headers.get("content-type", "")
    return "html" not in kind.lower() and body.lstrip()[:1] in (b"", b"{")


def _proxy(url: URL) -> str | None:
    return None if proxy_bypass(url.host) else getproxies().get(url.scheme)
