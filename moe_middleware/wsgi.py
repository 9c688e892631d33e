"""The WSGI door (PEP 3333): wraps any WSGI app, and only adds to it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import wait
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

from .browser.preview_badges import UNWANTED_META, BadgeWriter, without_length
from .concurrency.background_loop import background
from .models.cookies import wsgi_cookies
from .models.errors import DuplicateMiddlewareError
from .models.experience import EMPTY
from .models.experiences import Experiences
from .models.reasons import Reason
from .models.texts import Headers, decoded
from .models.visits import Visit
from .personalizer.current import current
from .personalizer.page import Page
from .personalizer.runtime import runtime_for
from .settings.settings import Config
from .wrapped_apps import check_wrapped

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

logger = logging.getLogger(__name__)

KEY = "moe_middleware"
EXPERIENCES = "moe_middleware.experiences"
FILE_WRAPPER = "wsgi.file_wrapper"

FORGETTING = 1.0
"""How long a response waits for the shared cache to forget a visitor, in seconds. It
takes milliseconds."""


class MoEngageWSGIMiddleware:
    """Prefetches a route's experiences, attaches them, and counts what was shown.

    The app finds them as ``environ["moe_middleware.experiences"]``, and anywhere by
    ``current_experiences()``. What the cache has is answered on the request's own
    thread; fetches run in one event-loop thread of the process.

    Args:
        app: The WSGI app to wrap.
        config: A settings file's path, a mapping of what stands in one, or a
            ``Settings``; by default the file that
            ``MOE_CONFIG`` names, else ``moe.yml``.
        workspace_id, api_key, data_center, base_url: Win over the environment and
            the file.

    Raises:
        SettingsError: The configuration is wrong; it lists every mistake.
        TypeError: The app is of another kind.
    """

    page_class = Page
    """What personalizes a request."""

    def __init__(
        self,
        app: WSGIApplication,
        config: Config = None,
        *,
        workspace_id: str | None = None,
        api_key: str | None = None,
        data_center: str | None = None,
        base_url: str | None = None,
    ) -> None:
        check_wrapped(app, "WSGI")
        self.app = app
        self.runtime = runtime_for(
            config,
            workspace_id=workspace_id,
            api_key=api_key,
            data_center=data_center,
            base_url=base_url,
        )
        kinds = {source.kind for _, source in self.runtime.settings.sources()}
        self._read_cookies = wsgi_cookies(app)
        self._needed = [kind for kind in _OUTSIDE if kind in kinds]

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        met = environ.get(KEY)
        if met is not None and met.is_underway:
            raise DuplicateMiddlewareError(_TWICE)
        try:
            loop = self.runtime.start_in_background()
        except Exception as error:
            logger.error("start_failed error=%s: %s", type(error).__name__, error)
            environ[EXPERIENCES] = Experiences(missing=Reason.ERROR)
            return self.app(environ, start_response)
        path = _path(environ)
        if self.runtime.own_paths.answers(path):
            return self._answer(path, environ, start_response)
        if met is not None and not met.ended:
            # Tried a second time while the first goes on: to each its own.
            environ = {**environ}
        # As it came in: inner layers change an environ in place.
        engine, request = self.runtime.personalizer, {**environ, _PATH: path}
        page = self.page_class(engine, request, self.visit_of, loop)
        environ[KEY] = page
        environ[EXPERIENCES] = page
        response = _Response(page, environ, start_response)
        try:
            mapped = page.find_routes(_method(environ), path)
            if mapped and not page.answer_at_once(page.wait_for):
                background.run(page.prefetch())
            wrapper = environ.get(FILE_WRAPPER)
            if wrapper is not None and not isinstance(wrapper, type):
                wrapper = environ[FILE_WRAPPER] = _FileWrapper(wrapper)
            if page.is_preview:
                for name in UNWANTED_META:
                    environ.pop(name, None)
            # Set and put back around every call of the app's, in the thread's own
            # context: in a copy the app would lose what it keeps there from one
            # request to the next, as Django does its connections to caches.
            token = current.set(page)
            try:
                body = self.app(environ, response.start)
            finally:
                current.reset(token)
            response.leave()
        except BaseException:
            response.leave()
            response.end(complete=False)
            raise
        if _is_file(body, wrapper):
            # The server sends the file by itself if it gets its own object back; of
            # its end nobody tells us.
            if response.badge is not None:
                page.miss_badge("file")
            response.end(complete=True)
            return body
        sized = hasattr(body, "__len__") and response.badge is None
        kind = _SizedBody if sized else _Body
        return kind(body, page, response)

    def _answer(
        self, path: str, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Answer for one of our own paths."""
        own_paths = self.runtime.own_paths
        body = _read(environ, own_paths.max_body(path))
        reply = background.run(own_paths.reply(self.visit_of(environ), body))
        start_response(
            f"{reply.status} {HTTPStatus(reply.status).phrase}",
            [(name.decode(), text.decode("latin-1")) for name, text in reply.headers],
        )
        return [] if _method(environ) == "HEAD" else [reply.body]

    def visit_of(self, environ: WSGIEnvironment) -> Visit:
        """Return what a request tells."""
        absent: Mapping[str, str] = EMPTY
        if self._needed:
            lacking = [kind for kind in self._needed if _KEYS.get(kind) not in environ]
            absent = {kind: _OUTSIDE[kind] for kind in lacking}
        return Visit(
            method=_method(environ),
            path=environ.get(_PATH) or _path(environ),
            root_path=_text(environ.get("SCRIPT_NAME", "")),
            headers=_headers(environ),
            query_string=_latin(environ.get("QUERY_STRING", "")),
            scheme=environ.get("wsgi.url_scheme", "http"),
            peer=environ.get("REMOTE_ADDR") or None,
            session=environ.get(_KEYS["session"]),
            absent=absent,
            read_cookies=self._read_cookies,
        )


def _read(environ: WSGIEnvironment, most: int) -> bytes:
    """Return a request's body; what is longer than ``most`` is cut just behind it."""
    try:
        size = max(0, int(environ.get("CONTENT_LENGTH") or 0))
    except ValueError:
        size = 0
    body: bytes = environ["wsgi.input"].read(min(size, most + 1)) if most else b""
    return body


_KEYS = {"session": "beaker.session"}
"""Where WSGI middlewares leave what such a source reads."""

_OUTSIDE = {
    "session": "there is no environ['beaker.session'] yet when MoEngageWSGIMiddleware "
    "runs: the session middleware is missing, or inside of it, and has to be outside: "
    "wrap the app with MoEngageWSGIMiddleware first; Flask's own session is read by "
    "moe_middleware.flask.MoEngage(app)",
    "user": "a WSGI app has no user that we know: take the value from the session, a "
    "cookie or a call; flask_login's is read by moe_middleware.flask.MoEngage(app)",
}
"""What to do where a request lacks what such a source reads."""

_PATH = f"{KEY}.path"
"""Where our copy of an environ has the path as text."""

_TWICE = (
    "MoEngageWSGIMiddleware met a request that it is already personalizing: it is "
    "installed twice around this handler. Keep the outermost one."
)


class _Headers:
    """A response's headers, as ours and as the app's own.

    Attributes:
        plain: Those that the standard allows.
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
                # The server has its own word to say.
                self._odd.append(header)

    def changed_to(self, made: Headers) -> list[tuple[str, str]]:
        """Return what the server gets; the app's very list where nothing changes."""
        if made is self.plain:
            return self._given
        ours = [(name.decode("latin-1"), text.decode("latin-1")) for name, text in made]
        return ours + self._odd


class _Start(NamedTuple):
    """The start of a response, which the server does not have yet."""

    status: str
    headers: _Headers
    made: Headers
    use: tuple[bool, ...]
    exc_info: OptExcInfo | None


class _Response:
    """Watches one response begin and end.

    Its start goes to the server once the app has come back from the call in which it
    began: until then the app may read experiences, and the headers follow.

    Attributes:
        is_begun: Whether the app has begun it, and the server does not know yet.
        badge: Adds a preview's badge; None where there is none.
    """

    __slots__ = (
        "_ended",
        "_environ",
        "_given",
        "_left",
        "_page",
        "_start_response",
        "_status",
        "_write",
        "badge",
        "is_begun",
    )

    def __init__(
        self, page: Page, environ: WSGIEnvironment, start_response: StartResponse
    ) -> None:
        self._page = page
        self._environ = environ
        self._start_response = start_response
        self._given: _Start | None = None
        self.is_begun = False
        self.badge: BadgeWriter | None = None
        self._write: Callable[[bytes], object] | None = None
        self._left = False
        self._status = 0
        self._ended = False

    def start(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: OptExcInfo | None = None,
    ) -> Callable[[bytes], object]:
        if exc_info is None and self.is_begun:
            # A second start without an error is the server's to refuse.
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
        if self.badge is not None:
            self.badge.look_at(data)
        return self._write(data)

    def leave(self) -> None:
        """Hand the start to the server, if it has begun since."""
        start, page = self._given, self._page
        if start is None:
            return
        self._given, self._left, self.is_begun = None, True, False
        made = start.made
        if page.use != start.use:
            made = page.response_headers(start.headers.plain, final=False)
        page.headers_left(start.headers.plain)
        if page.forgetting is not None:
            wait((page.forgetting,), FORGETTING)
        if page.is_preview:
            self.badge = page.badge_for(self._status, made)
        if self.badge is not None:
            made = without_length(made)
        headers = start.headers.changed_to(made)
        if start.exc_info is None:
            self._write = self._start_response(start.status, headers)
        else:
            self._write = self._start_response(start.status, headers, start.exc_info)

    def end(self, *, complete: bool | None) -> None:
        """Count what was shown, where the whole body was handed over. Once.

        Args:
            complete: Whether it was; None where the server took none of it.
        """
        if self._ended:
            return
        self._ended = True
        if complete is None:
            complete = self._status in (204, 304)
        if complete:
            self._page.record(self._status)
        self._page.end()
        # Whoever handles this environ again begins anew.
        self._environ.pop(KEY, None)


class _Body:
    """The app's body, as lazy as it was, with the request's experiences to its end."""

    __slots__ = ("_body", "complete", "experiences", "response")

    def __init__(
        self, body: Iterable[bytes], experiences: Experiences, response: _Response
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

    def __init__(self, body: _Body, parts: Iterator[bytes]) -> None:
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


class _SizedBody(_Body):
    """One whose length a server may ask for, to work out the Content-Length."""

    __slots__ = ()
    _body: list[bytes]

    def __len__(self) -> int:
        return len(self._body)


class _FileWrapper:
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


def _is_file(body: object, wrapper: Any) -> bool:
    """Whether the server knows this body as a file that it sends by itself."""
    return wrapper is not None and isinstance(body, wrapper)


def _code(status: str) -> int:
    """Return a status line's number; 0 where it has none, which the server minds."""
    try:
        return int(status[:3])
    except (TypeError, ValueError):
        return 0


def _method(environ: WSGIEnvironment) -> str:
    return str(environ.get("REQUEST_METHOD", "GET")).upper()


def _path(environ: WSGIEnvironment) -> str:
    """Return the path as people write it: WSGI hands over bytes disguised as text."""
    return _text(environ.get("PATH_INFO", "")) or "/"


def _headers(environ: WSGIEnvironment) -> list[tuple[bytes, bytes]]:
    headers = [
        (
            _header_name(name),
            value.encode("latin-1", "replace") if type(value) is str else _latin(value),
        )
        for name, value in environ.items()
        if name[:5] == "HTTP_"
    ]
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if value := environ.get(name):
            headers.append((_header_name(name), _latin(value)))
    return headers


@lru_cache(maxsize=256)
def _header_name(name: str) -> bytes:
    return _latin(name.removeprefix("HTTP_").replace("_", "-").lower())


def _text(value: object) -> str:
    return decoded(_latin(value))


def _latin(value: object) -> bytes:
    return str(value).encode("latin-1", "replace")
