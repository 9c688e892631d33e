"""The ASGI door: wraps any ASGI app, and changes nothing but what it adds."""

from __future__ import annotations

import asyncio
import logging
import math
import sys
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from types import BuiltinMethodType, FrameType, MappingProxyType
from typing import Any, Self
from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .browser.preview_badges import BadgeWriter, wanted_headers, without_length
from .models.answering import SENT
from .models.cookies import asgi_cookies
from .models.errors import DuplicateMiddlewareError, SettingsError
from .models.experience import EMPTY
from .models.experiences import Experiences
from .models.texts import decoded
from .models.visits import Visit
from .personalizer.current import current, on_event_loop
from .personalizer.page import Page
from .personalizer.runtime import runtime_for
from .routes.routes import route_path
from .settings.settings import Config
from .wrapped_apps import check_wrapped

logger = logging.getLogger(__name__)

KEY = "moe_middleware"
EXPERIENCES = "experiences"
"""Their name in ``scope["state"]``, and so on ``request.state``."""


class MoEngageMiddleware:
    """Prefetches a route's experiences, attaches them, and counts what was shown.

    The app finds them as ``request.state.experiences`` on every request, and anywhere
    by ``current_experiences()``. Websockets pass by untouched.

    Args:
        app: The ASGI app to wrap.
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
        app: ASGIApp,
        config: Config = None,
        *,
        workspace_id: str | None = None,
        api_key: str | None = None,
        data_center: str | None = None,
        base_url: str | None = None,
    ) -> None:
        check_wrapped(app, "ASGI")
        self.app = app
        self._broken: SettingsError | None = None
        try:
            self.runtime = runtime_for(
                config,
                workspace_id=workspace_id,
                api_key=api_key,
                data_center=data_center,
                base_url=base_url,
            )
        except SettingsError as error:
            if not _is_built_within_lifespan(sys._getframe(1)):
                raise
            # Most servers go on without a lifespan that raises, and every page would
            # fail. Answered as one that failed, it ends them.
            self._broken = error
            return
        kinds = {source.kind for _, source in self.runtime.settings.sources()}
        self._read_cookies = asgi_cookies(app)
        self._needed = [kind for kind in _OUTSIDE if kind in kinds]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            app = self._lifespan if scope["type"] == "lifespan" else self.app
            await app(scope, receive, send)
            return
        if self._broken is not None:
            raise self._broken
        met = scope.get(KEY)
        if met is not None and met.is_underway:
            raise DuplicateMiddlewareError(_TWICE)
        try:
            loop = self.runtime.start()
        except RuntimeError as error:
            raise error if on_event_loop() else RuntimeError(_NO_ASYNCIO) from error
        path = _path_of(scope)
        if self.runtime.own_paths.answers(path):
            await self._answer(path, scope, receive, send)
            return
        if met is not None and not met.ended:
            # Tried a second time while the first goes on: to each its own.
            scope = {**scope}
        engine, request = self.runtime.personalizer, _as_it_is(scope)
        page = self.page_class(engine, request, self.visit_of, loop)
        scope[KEY] = page
        scope["state"] = _state_with(page.experiences, scope.get("state"))
        token = current.set(page.experiences)
        try:
            if page.find_routes(scope["method"], path) and not page.answer_at_once():
                await page.prefetch()
            if page.is_preview:
                scope["headers"] = wanted_headers(scope.get("headers", ()))
            responder = _Responder(page, receive, send)
            await self.app(scope, responder.receive, responder.send)
        finally:
            scope.pop(KEY, None)
            page.end()
            current.reset(token)

    def visit_of(self, scope: Scope) -> Visit:
        """Return what a request tells."""
        client = scope.get("client")
        absent: Mapping[str, str] = EMPTY
        if self._needed:
            lacking = [kind for kind in self._needed if kind not in scope]
            absent = {kind: _OUTSIDE[kind] for kind in lacking}
        session = scope.get("session")
        if session is not None and isinstance(session, Mapping):
            session = MappingProxyType(session)
        return Visit(
            method=scope["method"],
            path=_path_of(scope),
            root_path=scope.get("root_path", ""),
            headers=scope.get("headers", ()),
            query_string=scope.get("query_string", b""),
            scheme=scope.get("scheme", "http"),
            peer=client[0] if client else None,
            session=session,
            user=scope.get("user"),
            absent=absent,
            read_cookies=self._read_cookies,
        )

    async def _answer(
        self, path: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer for one of our own paths."""
        own_paths = self.runtime.own_paths
        body = await _read(receive, own_paths.max_body(path))
        reply = await own_paths.reply(self.visit_of(_as_it_is(scope)), body)
        start = {"type": "http.response.start", "status": reply.status}
        await send({**start, "headers": reply.headers})
        sent = b"" if scope["method"] == "HEAD" else reply.body
        await send({"type": "http.response.body", "body": sent})

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        error: Exception | None = self._broken
        if error is None and not on_event_loop():
            error = RuntimeError(_NO_ASYNCIO)
        if error is None:
            await _Lifespan(self, receive, send).run(scope)
            return
        await receive()
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        raise error


def _is_built_within_lifespan(builder: FrameType | None) -> bool:
    """Whether a framework builds its middlewares only now, in its first ASGI call.

    Args:
        builder: What makes the middleware.
    """
    while builder is not None:
        scope = builder.f_locals.get("scope")
        if isinstance(scope, Mapping) and scope.get("type") == "lifespan":
            return True
        builder = builder.f_back
    return False


_ORDER = (
    "there is no {kind} yet when MoEngageMiddleware runs: {middleware} is missing, or "
    "inside of it, and has to be outside. With app.add_middleware add it after "
    "MoEngageMiddleware, as the one added last is the outermost; in a list of "
    "middleware=[...] put it before"
)

_OUTSIDE = {
    "session": _ORDER.format(kind="session", middleware="SessionMiddleware"),
    "user": _ORDER.format(kind="user", middleware="AuthenticationMiddleware"),
}
"""What to do where a request lacks what such a source reads."""


def _as_it_is(scope: Scope) -> Scope:
    """Return a request as it came in: inner layers change their scope in place."""
    headers = scope.get("headers", ())
    if not isinstance(headers, _READ_AGAIN):
        # What can be read but once is the app's as well.
        headers = scope["headers"] = [tuple(pair) for pair in headers]
    return {**scope, "headers": [*headers]}


_READ_AGAIN = (list, tuple)


class _State(dict[str, Any]):
    """A request's state: the outer layers' own, and our experiences beside it.

    Some servers share one ``scope["state"]`` between requests. So ours is another dict,
    in which the experiences are this request's alone. Whatever else is written into it
    the outer layers see, as they would without us.
    """

    __slots__ = ("outer",)
    outer: MutableMapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        found = super().__getitem__(name)
        if type(found) is Experiences:
            found.handed_out = True
        return found

    def get(self, name: str, default: Any = None) -> Any:
        try:
            return self[name]
        except KeyError:
            return default

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        if name != EXPERIENCES:
            self.outer[name] = value

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        if name != EXPERIENCES:
            self.outer.pop(name, None)

    # Of dict's other methods none calls these by itself; MutableMapping's do.
    clear = MutableMapping.clear
    pop = MutableMapping.pop
    popitem = MutableMapping.popitem
    setdefault = MutableMapping.setdefault
    update = MutableMapping.update

    def __ior__(self, others: Any) -> Self:  # type: ignore[override,misc]
        self.update(others)
        return self

    def __reduce__(self) -> Any:
        # A copy is a plain dict.
        return dict, (dict(self),)


def _state_with(experiences: Experiences, outer: Any) -> _State:
    if type(outer) is not dict:
        outer = _mapping_of(outer)
    state = _State(outer, experiences=experiences)
    state.outer = outer
    return state


def _mapping_of(state: Any) -> MutableMapping[str, Any]:
    """Return a state as a mapping: servers and layers put other objects there too."""
    if isinstance(state, _State):
        # Of an earlier try with the same scope.
        return state.outer
    if not isinstance(state, Mapping):
        attributes = getattr(state, "__dict__", {})
        # Starlette's own State keeps its values in one more dict.
        inner = attributes.get("_state")
        state = inner if isinstance(inner, Mapping) else attributes
    # What cannot be written into keeps what it has; the rest is the request's.
    return state if isinstance(state, MutableMapping) else {**state}


_TWICE = (
    "MoEngageMiddleware met a request that it has already personalized: it is "
    "installed twice around this handler.\n"
    "Most likely it wraps the app and is also in the app's middleware list, or it "
    "wraps both an app and a sub-app mounted in it.\n"
    "Keep the outermost one: its routes match the whole path, those of mounted apps "
    "included."
)

_NO_ASYNCIO = (
    "moe_middleware needs asyncio, and this server runs another event loop: run "
    "hypercorn without --worker-class trio"
)


def _path_of(scope: Scope) -> str:
    """Return the path within the wrapped app."""
    path: str = scope["path"]
    if _UNREADABLE in path:
        # Servers put it in for every byte that is no UTF-8: two ids would become one.
        raw = unquote_to_bytes(scope.get("raw_path") or b"")
        path = decoded(raw) if raw.decode(errors="replace") == path else path
    root_path = scope.get("root_path")
    return route_path(path, root_path) if root_path else path or "/"


_UNREADABLE = "\ufffd"


async def _read(receive: Receive, most: int) -> bytes:
    """Return a request's body; what is longer than ``most`` is cut just behind it."""
    body, more = b"", most > 0
    while more and len(body) <= most:
        message = await receive()
        body += message.get("body", b"")
        more = message["type"] == "http.request" and message.get("more_body", False)
    return body[: most + 1]


class _Responder:
    """Watches one response go out: its start, its last byte, and a visitor who left.

    Most responses show nothing, and cost little more than the look at it.
    """

    _start: Message
    _sent = 0
    _ended = False
    _listening = False
    _left = False
    _unread: tuple[Message, ...] = ()
    _asking: asyncio.Task[None] | None = None

    def __init__(self, page: Page, receive: Receive, send: Send) -> None:
        self._page = page
        self._receive = receive
        self._send = send
        self._badge: BadgeWriter | None = None

    async def receive(self) -> Message:
        if self._asking is not None:
            # The server is being asked for us: what it says is the app's.
            await asyncio.wait([self._asking])
        if self._unread:
            message, *unread = self._unread
            self._unread = tuple(unread)
        else:
            self._listening = True
            try:
                message = await self._receive()
            finally:
                self._listening = False
        if message["type"] == "http.disconnect":
            # Left before the last byte: what follows is sent to nobody.
            self._ended = self._left = True
        return message

    async def send(self, message: Message) -> None:
        page, kind = self._page, message["type"]
        if kind == "http.response.start":
            given = message.get("headers", ())
            headers = given if isinstance(given, list) else list(given)
            if page.owes_consent:
                await page.ask_consent()
            headers = page.response_headers(headers)
            if page.is_preview:
                self._badge = page.badge_for(message["status"], headers)
            if self._badge is not None:
                headers = without_length(headers)
            if headers is not given:
                # It is the app's, which may send the same one to the next visitor.
                message = {**message, "headers": headers}
            self._start = message
            if page.forgetting is not None:
                await asyncio.wrap_future(page.forgetting)
            await self._send(message)
            return
        if self._badge is not None:
            if kind == _BODIES[0]:
                message = self._with_badge(self._badge, message)
            elif kind in _BODIES:
                page.miss_badge("file")
        experiences = page.experiences
        if experiences.used and experiences.shown and self._ends_with(message):
            # Before it is sent: with the last byte some servers say at once that the
            # visitor left.
            self._ended = True
            stayed = not await self._has_left()
            await self._send(message)
            if stayed:
                page.record(self._start["status"])
            experiences.phase = SENT
            return
        if "more_body" in message:
            self._sent += len(message.get("body", b""))
        await self._send(message)
        if kind in _BODIES and not message.get("more_body", False):
            experiences.phase = SENT

    def _with_badge(self, badge: BadgeWriter, message: Message) -> Message:
        body = message.get("body", b"")
        badge.look_at(body)
        if message.get("more_body", False):
            return message
        return {**message, "body": body + badge.end()}

    def _ends_with(self, message: Message) -> bool:
        """Whether a message holds the response's last byte, for a visitor still there.

        The last of as many bytes as the headers promise is the last: Granian and
        hypercorn then end the response, and some apps with it, before they could send
        a last and empty message.
        """
        if self._ended:
            return False
        if message["type"] not in _BODIES:
            ends = message["type"] == _TRAILERS
            return ends and not message.get("more_trailers", False)
        if message.get("more_body", False):
            sent = self._sent + len(message.get("body", b""))
            if sent < _content_length(self._start):
                return False
        return not self._start.get("trailers", False)

    async def _has_left(self) -> bool:
        """Ask whether the visitor left a longer body.

        Sending to one who left goes unpunished with most servers. An app that listens
        itself hears of it, if it ever lets the event loop run: so we do.
        """
        if not self._sent:
            return False
        # What listens for the app may not have begun yet: it comes first.
        await asyncio.sleep(0)
        # The request's own body comes first, where nothing has read it.
        for _ in range(2):
            if self._left:
                break
            if self._listening:
                await self._some_turns(lambda: not self._listening)
            else:
                await self._ask_server()
        return self._left

    async def _ask_server(self) -> None:
        """Learn what the server has for us without waiting; the app gets it too."""
        if self._unread and self._unread[-1].get("more_body"):
            return
        asking = self._asking = asyncio.create_task(self._keep_unread())
        try:
            await self._some_turns(asking.done)
        finally:
            self._asking = None
            asking.cancel()

    async def _keep_unread(self) -> None:
        with suppress(Exception):
            message = await self._receive()
            self._unread = (*self._unread, message)
            self._left = message["type"] == "http.disconnect"

    async def _some_turns(self, is_told: Callable[[], bool]) -> None:
        """Let the event loop run until the server has told what it knows."""
        pauses = [0.0] * TURNS
        if isinstance(self._receive, BuiltinMethodType):
            pauses += NATIVE_PAUSES
        for pause in pauses:
            await asyncio.sleep(pause)
            if is_told():
                return


TURNS = 4
"""Of the event loop, in which a server hears from its socket and tells the app."""

NATIVE_PAUSES = [0.001] * 3
"""In seconds, for a server in another language, whose own threads tell the app."""


# A server that sends files by itself gets them in messages of their own.
_BODIES = (
    "http.response.body",
    "http.response.pathsend",
    "http.response.zerocopysend",
)
_TRAILERS = "http.response.trailers"


def _content_length(start: Message) -> float:
    """Return how many bytes a response promises; infinity where it does not."""
    for name, value in start.get("headers", ()):
        if name.lower() == b"content-length" and value.isdigit():
            return int(value)
    return math.inf


class _Lifespan:
    """Runs startup and shutdown around the app's lifespan, also where it has none."""

    def __init__(
        self, middleware: MoEngageMiddleware, receive: Receive, send: Send
    ) -> None:
        self._app = middleware.app
        self._runtime = middleware.runtime
        self._receive = receive
        self._send = send
        self._startup: Message | None = None
        self._app_speaks = False

    async def run(self, scope: Scope) -> None:
        self._startup = await self._receive()
        try:
            self._runtime.start()
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            await self._send({"type": "lifespan.startup.failed", "message": text})
            raise
        try:
            await self._app(scope, self.receive, self.send)
        except BaseException as error:
            if self._app_speaks or not _has_no_lifespan(error):
                await self._runtime.stop()
                raise
            kind = type(error).__name__
            logger.info("lifespan_unsupported error=%s: %s", kind, _DEAF)
        if not self._app_speaks:
            await self._speak()

    async def receive(self) -> Message:
        self._app_speaks = True
        if self._startup is not None:
            message, self._startup = self._startup, None
            return message
        return await self._receive()

    async def send(self, message: Message) -> None:
        self._app_speaks = True
        if message["type"] != "lifespan.startup.complete":
            await self._runtime.stop()
        await self._send(message)

    async def _speak(self) -> None:
        """Answer for an app that has no lifespan of its own."""
        await self._send({"type": "lifespan.startup.complete"})
        await self._receive()
        await self._runtime.stop()
        await self._send({"type": "lifespan.shutdown.complete"})


_DEAF = "the app takes no lifespan, so we answer the server's in its place"


def _has_no_lifespan(error: BaseException) -> bool:
    """Whether an error refuses the lifespan, and is none of a broken app.

    The standard's way to do so is to raise, whatever it is. Apps that look for a
    request raise the first two kinds and miss a key of its scope; frameworks name what
    they do not take.
    """
    if isinstance(error, AssertionError | NotImplementedError):
        return True
    if isinstance(error, KeyError):
        return bool(error.args) and error.args[0] in _OF_A_REQUEST
    return isinstance(error, Exception) and "lifespan" in str(error)


_OF_A_REQUEST = ("method", "path", "raw_path", "root_path", "query_string", "headers")
