"""Our pages in a script, through the WSGI door: each shows the banner by its tag."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from moe_middleware.concurrency.background_loop import background

from .recorders import Recorder

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse


def ours(_url: str) -> Recorder:
    """Serve the site that ``MOE_CONFIG`` configures, without a server."""
    from .site import wsgi

    def record(user: str) -> None:
        environ = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": "/",
            "HTTP_COOKIE": f"customer_id={user}",
            "HTTP_USER_AGENT": "Firefox",
            "HTTP_HOST": "shop.test",
        }
        body = wsgi(environ, cast("StartResponse", lambda *_: None))
        page = b"".join(body)
        cast("_Closing", body).close()
        assert b"Slow mornings" in page, page

    def close() -> None:
        background.run(wsgi.runtime.stop())

    return Recorder(record=record, close=close)


if TYPE_CHECKING:

    class _Closing(Iterable[bytes]):
        def close(self) -> None: ...
