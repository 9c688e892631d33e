"""The shop for real servers, and what it counted of itself.

``benchmarks.doors_site:app``; the folder of its outbox is ``MOE_BENCH_DIRECTORY``.
"""

from __future__ import annotations

import logging
import os

import orjson
from starlette.types import Message, Receive, Scope, Send

from .shop import our_shop

logging.getLogger("moe_middleware").setLevel(logging.ERROR)

TOLD = "/told"
MEGABYTE = 1 << 20
PIECE = bytes(1 << 16)


class Counted:
    """Counts the pages that a server took whole, and tells it at ``/told``.

    ``/download`` sends 100 MB through the wrapped app's door, ``/upload`` takes a body.
    """

    def __init__(self, directory: str) -> None:
        self.ours = our_shop(directory)
        self.shop, self.ours.app = self.ours.app, self._shop
        self.pages = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == TOLD:
            await self._tell(send)
            return
        if scope["type"] != "http" or scope["path"] != "/":
            await self.ours(scope, receive, send)
            return

        async def counting(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.body":
                self.pages += 1

        await self.ours(scope, receive, counting)

    async def _tell(self, send: Send) -> None:
        await self.ours.runtime.outbox.flush()
        waiting = (await self.ours.runtime.outbox.count()).waiting
        told = orjson.dumps({"pages": self.pages, "impressions": waiting})
        await _answer(send, told)

    async def _shop(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope.get("path"):
            case "/download":
                await send(_start(100 * MEGABYTE))
                for _ in range(1600):
                    body = {"type": "http.response.body", "body": PIECE}
                    await send({**body, "more_body": True})
                await send({"type": "http.response.body"})
            case "/upload":
                size, more = 0, True
                while more:
                    message = await receive()
                    size += len(message.get("body", b""))
                    more = message.get("more_body", False)
                await _answer(send, str(size).encode())
            case _:
                await self.shop(scope, receive, send)


async def _answer(send: Send, body: bytes) -> None:
    await send(_start(len(body)))
    await send({"type": "http.response.body", "body": body})


def _start(length: int) -> Message:
    headers = [(b"content-length", str(length).encode())]
    return {"type": "http.response.start", "status": 200, "headers": headers}


app = Counted(os.environ.get("MOE_BENCH_DIRECTORY", "."))
