"""A page at the ASGI door, which passes its own response on."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from types import BuiltinMethodType
from typing import Any

from starlette.types import Message, Receive, Send

from ..browser.html_endings import EndingWriter, for_longer_body
from ..models.experiences import SENT
from ..models.texts import Headers
from ..personalizer.page import Page

_NOT_STARTED: Message = {"type": "http.response.start", "status": 0}


class ASGIPage(Page):
    """A page that passes on its response, and detects a visitor who has left.

    Most responses show nothing, and cost little more than the look at it: ``send``
    returns what the server's own returns, to be awaited.

    Attributes:
        server: The server's own receive and send; ``OVER`` once the request is over.
            The server's own lead back here, by the request's state: the circle would
            be left for the garbage collector, at every request.
    """

    server: tuple[Receive, Send]
    _start: Message = _NOT_STARTED
    _sent = 0
    _last_sent = False
    _listening = False
    _left = False
    _unread: tuple[Message, ...] = ()
    _asking: asyncio.Task[None] | None = None
    _ending: EndingWriter | None = None

    async def receive(self) -> Message:
        if self._asking is not None:
            # We are waiting for a message, which is then the app's.
            await asyncio.wait([self._asking])
        if self._unread:
            message, *unread = self._unread
            self._unread = tuple(unread)
        else:
            self._listening = True
            try:
                message = await self.server[0]()
            finally:
                self._listening = False
        if message["type"] == "http.disconnect":
            # The visitor left before the last byte.
            self._last_sent = self._left = True
        return message

    def send(self, message: Message) -> Awaitable[None]:
        kind = message["type"]
        if kind == "http.response.start":
            if self._engine.asks_consent and self.owes_consent:
                return self._send_with_consent(message)
            given = message.get("headers", ())
            headers = given if type(given) is list else list(given)
            headers = self.response_headers(headers)
            if self.has_ending:
                headers = self._headers_with_ending(message["status"], headers)
            if headers is not given:
                # A copy: the app may send the same message to the next visitor.
                message = {**message, "headers": headers}
            self._start = message
            if self.forgetting is not None:
                return self._send_when_forgotten(self.forgetting)
            return self.server[1](message)
        if self._ending is not None:
            if kind == _BODIES[0]:
                message = self._with_ending(self._ending, message)
            elif kind in _BODIES:
                self.miss_ending("file")
        more = message.get("more_body", False)
        if self._shown and not self._last_sent:
            whole = kind == _BODIES[0] and not more and "trailers" not in self._start
            if whole or self._ends_with(message):
                return self._send_last(message)
        if more:
            self._sent += len(message.get("body", b""))
        elif kind in _BODIES:
            self.phase = SENT
        return self.server[1](message)

    async def _send_with_consent(self, message: Message) -> None:
        """Send the response's start when it is known whether to remove cookies."""
        await self.ask_consent()
        await self.send(message)

    async def _send_when_forgotten(self, forgetting: Future[bool]) -> None:
        await asyncio.wrap_future(forgetting)
        await self.server[1](self._start)

    def _headers_with_ending(self, status: int, headers: Headers) -> Headers:
        self._ending = self.ending_for(status, headers)
        return headers if self._ending is None else for_longer_body(headers)

    async def _send_last(self, message: Message) -> None:
        """Send the last byte of a response with impressions, and record these."""
        # Set before it is sent: after the last byte some servers report at once that
        # the visitor left.
        self._last_sent = True
        now = self._engine.clock()
        may_have_left = self._sent or now - self._met_at > SLOW
        stayed = not (may_have_left and await self._has_left())
        await self.server[1](message)
        if stayed:
            self.record(self._start["status"], now)
        self.phase = SENT

    def _with_ending(self, ending: EndingWriter, message: Message) -> Message:
        body = message.get("body", b"")
        ending.look_at(body)
        if message.get("more_body", False):
            return message
        return {**message, "body": body + ending.end()}

    def _ends_with(self, message: Message) -> bool:
        """Whether a message has the response's last byte, and the visitor is there.

        The last of as many bytes as the headers promise is the last: Granian and
        hypercorn then end the response, and some apps with it, before they could send
        a last and empty message.
        """
        if self._last_sent:
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
        """Whether the visitor has left during a longer body, or before a slow one.

        Sending to one who left goes unpunished with most servers. An app that listens
        itself hears of it, if it ever lets the event loop run: so we do.
        """
        # The app's own listener may not have started yet; it has priority.
        await asyncio.sleep(0)
        # An unread request body comes before a disconnect.
        for _ in range(2):
            if self._left:
                break
            if self._listening:
                await self._some_turns(lambda: not self._listening)
            else:
                await self._ask_server()
        return self._left

    async def _ask_server(self) -> None:
        """Receive a message without waiting; the app gets it, too."""
        if self._unread and self._unread[-1].get("more_body"):
            return
        asking = self._asking = asyncio.create_task(self._keep_unread())
        try:
            await self._some_turns(asking.done)
        finally:
            self._asking = None
            # It waits in the server's receive, so no message is lost.
            asking.cancel()

    async def _keep_unread(self) -> None:
        with suppress(Exception):
            message = await self.server[0]()
            self._unread = (*self._unread, message)
            self._left = message["type"] == "http.disconnect"

    async def _some_turns(self, is_known: Callable[[], bool]) -> None:
        """Run the event loop until a message has arrived, for a few turns."""
        pauses = [0.0] * TURNS
        if isinstance(self.server[0], BuiltinMethodType):
            pauses += NATIVE_PAUSES
        for pause in pauses:
            await asyncio.sleep(pause)
            if is_known():
                return


SLOW = 0.2
"""Seconds that a page in one part may take before we ask whether its visitor has left:
asking costs some turns of the event loop."""

TURNS = 8
"""Turns of the event loop in which a server reads its socket and sends a message. Each
BaseHTTPMiddleware outside of ours takes two or three of them."""

NATIVE_PAUSES = [0.001] * 3
"""Further seconds for a server in another language, with threads of its own."""


# The last two are for servers that send files by themselves.
_BODIES = (
    "http.response.body",
    "http.response.pathsend",
    "http.response.zerocopysend",
)
_TRAILERS = "http.response.trailers"


def _content_length(start: Message) -> float:
    """Return a response's Content-Length; infinity without one."""
    for name, value in start.get("headers", ()):
        if name.lower() == b"content-length" and value.isdigit():
            return int(value)
    return math.inf


async def _after_the_end(_: Message | None = None) -> Any:
    """Replaces the server's receive and send after the request's end."""
    raise RuntimeError("the request is over: its app has returned")


OVER = (_after_the_end, _after_the_end)
