"""An ASGI server by the letter, in process: it notes every message that it gets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from starlette.types import ASGIApp, Message, Scope

Headers = Sequence[tuple[bytes, bytes]]


class Answer:
    """The messages of an app for one request.

    Attributes:
        messages: All of them, in order.
        error: What it raised, if it did.
    """

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.error: Exception | None = None

    @property
    def kinds(self) -> list[str]:
        return [message["type"] for message in self.messages]

    @property
    def status(self) -> int:
        status: int = self._start["status"]
        return status

    @property
    def headers(self) -> dict[str, str]:
        return {
            bytes(name).decode("latin-1").lower(): bytes(value).decode("latin-1")
            for name, value in self._start.get("headers", ())
        }

    @property
    def bodies(self) -> list[bytes]:
        """Every body message's bytes, whatever their type was."""
        kind = "http.response.body"
        return [bytes(m.get("body", b"")) for m in self.messages if m["type"] == kind]

    @property
    def body(self) -> bytes:
        return b"".join(self.bodies)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def _start(self) -> Message:
        kind = "http.response.start"
        return next(message for message in self.messages if message["type"] == kind)


class AsgiServer:
    """Runs an app's lifespan around its block, and each request in a task of its own.

    It does no more than the specification asks: a closed connection is reported by
    ``receive`` alone, and messages sent to it are dropped.
    """

    def __init__(self, app: ASGIApp, *, extensions: Iterable[str] = ()) -> None:
        self.app = app
        self.extensions: dict[str, Any] = {name: {} for name in extensions}
        self.state: dict[str, Any] = {}
        self.events: list[str] = []
        self._phases: asyncio.Queue[str] = asyncio.Queue()
        self._lifespan_answered = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._lifespan = asyncio.create_task(self._run_lifespan())
        await self._phase("lifespan.startup")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._lifespan.done():
            await self._phase("lifespan.shutdown")
        await self._lifespan

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Sequence[bytes] = (b"",),
        leave_after: int | None = None,
    ) -> Answer:
        """Send a request and return the whole answer.

        Args:
            method: In upper case.
            path: With its query.
            headers: Of the request.
            body: In the pieces in which it arrives.
            leave_after: Close the connection after so many messages.
        """
        conversation = _Conversation(body, leave_after)
        await conversation.run(self.app, self._scope(method, path, headers or {}))
        return conversation.answer

    async def websocket(self, path: str, *texts: str) -> list[Message]:
        """Say something to a websocket and return its messages."""
        sent_messages: list[Message] = []
        heard: list[Message] = [{"type": "websocket.connect"}]
        heard += [{"type": "websocket.receive", "text": text} for text in texts]
        heard.append({"type": "websocket.disconnect", "code": 1000})
        pending = iter(heard)
        answered = asyncio.Semaphore(1)

        async def receive() -> Message:
            # One after the other, as a person would.
            await answered.acquire()
            return next(pending)

        async def send(message: Message) -> None:
            sent_messages.append({**message})
            answered.release()

        scope = self._scope("GET", path, {})
        del scope["method"]
        scope.update({"type": "websocket", "scheme": "ws", "subprotocols": []})
        await asyncio.create_task(self._call(scope, receive, send))
        return sent_messages

    async def _call(self, scope: Scope, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)

    def _scope(self, method: str, path: str, headers: Mapping[str, str]) -> Scope:
        path, _, query = path.partition("?")
        given = {"host": "shop.example", "user-agent": "Firefox", **headers}
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(n.encode(), v.encode()) for n, v in given.items()],
            "client": ("127.0.0.1", 50_000),
            "server": ("127.0.0.1", 80),
            "state": self.state.copy(),
            "extensions": {**self.extensions},
        }

    async def _phase(self, name: str) -> None:
        self._lifespan_answered.clear()
        self._phases.put_nowait(name)
        answered = asyncio.ensure_future(self._lifespan_answered.wait())
        await asyncio.wait(
            [answered, self._lifespan], return_when=asyncio.FIRST_COMPLETED
        )
        answered.cancel()

    async def _run_lifespan(self) -> None:
        async def receive() -> Message:
            return {"type": await self._phases.get()}

        async def send(message: Message) -> None:
            self.events.append(message["type"])
            self._lifespan_answered.set()

        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            await self.app(scope, receive, send)
        except Exception as error:
            # As servers do: one without a lifespan may raise.
            self.events.append(type(error).__name__)


class _Conversation:
    """One request and its answer."""

    def __init__(self, body: Sequence[bytes], leave_after: int | None) -> None:
        self.answer = Answer()
        self._body = [*body]
        self._leave_after = leave_after
        self._gone = asyncio.Event()

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        try:
            await asyncio.create_task(self._call(app, scope))
        except Exception as error:
            self.answer.error = error

    async def _call(self, app: ASGIApp, scope: Scope) -> None:
        await app(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        if self._body and not self._gone.is_set():
            body = self._body.pop(0)
            more = bool(self._body)
            return {"type": "http.request", "body": body, "more_body": more}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self._gone.is_set():
            return
        # A copy: what happens to the message later does not count.
        self.answer.messages.append({**message})
        last = message["type"] in _LASTS and not (
            message.get("more_body", False) or message.get("more_trailers", False)
        )
        # Others may run while the bytes are on their way.
        await asyncio.sleep(0)
        if last or len(self.answer.messages) == self._leave_after:
            self._gone.set()


_LASTS = [
    f"http.response.{kind}" for kind in ("body", "pathsend", "zerocopysend", "trailers")
]
