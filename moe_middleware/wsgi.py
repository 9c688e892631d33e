"""The WSGI door (PEP 3333): wraps any WSGI app, and only adds to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

from .current import current
from .errors import DuplicateMiddlewareError
from .loop_threads import background
from .pages import Page
from .runtime import runtime_for
from .settings import Settings
from .visits import Visit

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

KEY = "moe_middleware"
EXPERIENCES = "moe_middleware.experiences"


class MoEngageWSGIMiddleware:
    """Prefetches a route's experiences, attaches them, and counts what was shown.

    The app finds them as ``environ["moe_middleware.experiences"]``, and anywhere by
    ``current_experiences()``. What the cache has is answered on the request's own
    thread; fetches run in one event-loop thread of the process.

    Args:
        app: The WSGI app to wrap.
        config: A settings file's path or a ``Settings``; by default the file that
            ``MOE_CONFIG`` names, else ``moe.yml``.
        workspace_id, api_key, data_center, base_url: Win over the environment and
            the file.

    Raises:
        SettingsError: The configuration is wrong; it lists every mistake.
    """

    def __init__(
        self,
        app: WSGIApplication,
        config: str | os.PathLike[str] | Settings | None = None,
        *,
        workspace_id: str | None = None,
        api_key: str | None = None,
        data_center: str | None = None,
        base_url: str | None = None,
    ) -> None:
        self.app = app
        self.runtime = runtime_for(
            config,
            workspace_id=workspace_id,
            api_key=api_key,
            data_center=data_center,
            base_url=base_url,
        )

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        if KEY in environ:
            raise DuplicateMiddlewareError(_TWICE)
        loop = self.runtime.start_in_background()
        page = Page(self.runtime.personalizer, environ, self.visit_of, loop)
        environ[KEY] = page
        environ[EXPERIENCES] = page.experiences
        path = _decoded(environ.get("PATH_INFO", "")) or "/"
        if page.find_routes(environ["REQUEST_METHOD"], path):
            page.prefetch_from_cache() or background.run(page.prefetch())
        context = copy_context()
        context.run(current.set, page.experiences)
        response = _Response(page, start_response)
        try:
            body = context.run(self.app, environ, response.start)
        except BaseException:
            page.end()
            raise
        wrapper = environ.get("wsgi.file_wrapper")
        if isinstance(wrapper, type) and isinstance(body, wrapper):
            # The server sends the file by itself if it gets its own object back; of
            # its end nobody tells us.
            response.end()
            return body
        return _body(body, context, response)

    def visit_of(self, environ: WSGIEnvironment) -> Visit:
        """Return what a request tells."""
        return Visit(
            method=environ["REQUEST_METHOD"],
            path=_decoded(environ.get("PATH_INFO", "")) or "/",
            headers=[*_headers(environ)],
            query_string=environ.get("QUERY_STRING", "").encode("latin-1"),
            scheme=environ.get("wsgi.url_scheme", "http"),
            peer=environ.get("REMOTE_ADDR") or None,
        )


_TWICE = (
    "MoEngageWSGIMiddleware met a request that it has already personalized: it is "
    "installed twice around this handler. Keep the outermost one."
)


class _Response:
    """Watches one response begin and end."""

    def __init__(self, page: Page, start_response: StartResponse) -> None:
        self._page = page
        self._start_response = start_response
        self._status = 0

    def start(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: OptExcInfo | None = None,
        /,
    ) -> Callable[[bytes], object]:
        self._status = int(status[:3])
        given = [(name.encode("latin-1"), it.encode("latin-1")) for name, it in headers]
        sent = self._page.response_headers(given)
        headers = [(name.decode("latin-1"), it.decode("latin-1")) for name, it in sent]
        if self._page.forgetting is not None:
            self._page.forgetting.result()
        if exc_info is None:
            return self._start_response(status, headers)
        return self._start_response(status, headers, exc_info)

    def end(self, *, complete: bool = True) -> None:
        """Count what was shown, where the whole body was handed over."""
        # Of these the server may take no body at all.
        if complete or self._status in (204, 304):
            self._page.record(self._status)
        self._page.end()


class _Body:
    """The app's body, as lazy as it was, within the request's context to its end."""

    def __init__(
        self, body: Iterable[bytes], context: Context, response: _Response
    ) -> None:
        self._body = body
        self._context = context
        self._response = response
        self._parts: Iterator[bytes] | None = None
        self._complete = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._parts is None:
            self._parts = self._context.run(iter, self._body)
        try:
            return self._context.run(next, self._parts)
        except StopIteration:
            self._complete = True
            raise

    def close(self) -> None:
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                self._context.run(close)
        finally:
            self._response.end(complete=self._complete)


class _SizedBody(_Body):
    """One whose length a server may ask for, to work out the Content-Length."""

    _body: list[bytes]

    def __len__(self) -> int:
        return len(self._body)


def _body(body: Iterable[bytes], context: Context, response: _Response) -> _Body:
    kind = _SizedBody if hasattr(body, "__len__") else _Body
    return kind(body, context, response)


def _headers(environ: WSGIEnvironment) -> Iterator[tuple[bytes, bytes]]:
    for name, value in environ.items():
        if name.startswith("HTTP_"):
            name = name[5:]
        elif name not in ("CONTENT_TYPE", "CONTENT_LENGTH") or not value:
            continue
        yield name.replace("_", "-").lower().encode("latin-1"), _latin(value)


def _latin(value: Any) -> bytes:
    return str(value).encode("latin-1", "replace")


def _decoded(path: str) -> str:
    """Return a path as people write it: WSGI hands over bytes disguised as text."""
    return path.encode("latin-1", "replace").decode("utf-8", "replace")
