"""A Chromium that is told what to do through a pipe, and watched no more than needed.

What drives browsers for tests listens to every request, and that costs the page's main
thread more than what is measured here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
ARGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
    *("--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--disable-breakpad", "--no-first-run"),
    *("--disable-dev-shm-usage", "--remote-debugging-pipe"),
)

PATIENCE = 60.0
"""How long to wait for what must happen, in seconds."""

MAX_MESSAGE = 1 << 24

# The browser reads its pipe at 3 and writes at 4: numbers that may be taken here.
_START = """\
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for number, end in zip((3, 4), ends):
    os.dup2(end, number)
    os.close(end)
os.execvp(sys.argv[3], sys.argv[3:])
"""

Answer = dict[str, Any]


class ChromiumError(Exception):
    """Chromium ended, or could not do what it was told."""


def chromium_path() -> str | None:
    """Return where Chromium is: ``CHROMIUM``, or what is on the PATH; None without."""
    given = os.environ.get("CHROMIUM")
    return given or next(filter(None, map(shutil.which, NAMES)), None)


class Chromium:
    """A running Chromium.

    Args:
        answers: What it says.
        orders: The pipe to it, which is written to.
    """

    def __init__(self, answers: asyncio.StreamReader, orders: int) -> None:
        self._answers = answers
        self._orders = orders
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._events: dict[tuple[str, str], asyncio.Future[Answer]] = {}
        self._given = 0

    async def send(self, method: str, session: str | None = None, **given: Any) -> Any:
        """Give an order of the DevTools protocol; return its result.

        Args:
            method: As in ``Page.navigate``.
            session: Whose page it is for; None for the browser itself.
            given: The order's parameters.

        Raises:
            ChromiumError: It could not do it.
        """
        self._given += 1
        order: Answer = {"id": self._given, "method": method, "params": given}
        if session is not None:
            order["sessionId"] = session
        future = self._waiting[self._given] = asyncio.get_running_loop().create_future()
        os.write(self._orders, json.dumps(order).encode() + b"\0")
        async with asyncio.timeout(PATIENCE):
            answer = await future
        if "error" in answer:
            raise ChromiumError(f"{method}: {answer['error'].get('message')}")
        return answer["result"]

    def next_event(self, name: str, session: str) -> asyncio.Future[Answer]:
        """Return what ends with a page's next event of a name."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._events[session, name] = future
        return future

    async def listen(self) -> None:
        """Hand on what it says, until it ends."""
        try:
            while said := await self._answers.readuntil(b"\0"):
                self._take(json.loads(said[:-1]))
        except asyncio.IncompleteReadError:
            for future in (*self._waiting.values(), *self._events.values()):
                if not future.done():
                    future.set_exception(ChromiumError("Chromium has ended"))

    def _take(self, said: Answer) -> None:
        if "id" in said:
            future = self._waiting.pop(said["id"], None)
        else:
            place = said.get("sessionId", ""), said["method"]
            future = self._events.pop(place, None)
        if future is not None and not future.done():
            future.set_result(said)


class Tab:
    """A page in a context of its own, with empty caches.

    Args:
        browser: Has it.
        session: What its orders go by.
    """

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser = browser
        self._session = session

    async def send(self, method: str, **given: Any) -> Any:
        """Give an order of the DevTools protocol; return its result."""
        return await self._browser.send(method, self._session, **given)

    async def go(self, url: str) -> None:
        """Go to a page, and wait for its load event."""
        loaded = self._browser.next_event("Page.loadEventFired", self._session)
        gone = await self.send("Page.navigate", url=url)
        if "errorText" in gone:
            raise ChromiumError(f"{url}: {gone['errorText']}")
        async with asyncio.timeout(PATIENCE):
            await loaded

    async def evaluate(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript."""
        answer = await self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise ChromiumError(str(answer["exceptionDetails"])[:300])
        return answer["result"].get("value")

    async def click(self, x: float, y: float) -> None:
        """Click with the mouse; the page has heard of it when this returns."""
        for what in ("mousePressed", "mouseReleased"):
            await self.send(
                "Input.dispatchMouseEvent",
                type=what,
                x=x,
                y=y,
                button="left",
                clickCount=1,
            )

    async def metrics(self) -> dict[str, float]:
        """Return what the page spent since it began, times in seconds."""
        answer = await self.send("Performance.getMetrics")
        return {one["name"]: one["value"] for one in answer["metrics"]}


@asynccontextmanager
async def tab(browser: Chromium, cookies: Sequence[Answer]) -> AsyncIterator[Tab]:
    """Open a tab in a context of its own; the context ends with the block."""
    context = (await browser.send("Target.createBrowserContext"))["browserContextId"]
    try:
        await browser.send(
            "Storage.setCookies", cookies=[*cookies], browserContextId=context
        )
        target = await browser.send(
            "Target.createTarget",
            url="about:blank",
            width=1280,
            height=800,
            browserContextId=context,
        )
        session = await browser.send(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        opened = Tab(browser, session["sessionId"])
        for domain in ("Page", "Performance"):
            await opened.send(f"{domain}.enable")
        yield opened
    finally:
        await browser.send("Target.disposeBrowserContext", browserContextId=context)


@asynccontextmanager
async def chromium(path: str, user_agent: str) -> AsyncIterator[Chromium]:
    """Run Chromium until the block ends.

    Args:
        path: Where it is.
        user_agent: Its own says that nobody sits before it.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        reads, orders = os.pipe()
        answers, writes = os.pipe()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _START, str(reads), str(writes), path, *ARGS),
            *(f"--user-data-dir={profile}", f"--user-agent={user_agent}"),
            pass_fds=(reads, writes),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        os.close(reads)
        os.close(writes)
        reader = asyncio.StreamReader(limit=MAX_MESSAGE)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(answers, "rb", 0)
        )
        browser = Chromium(reader, orders)
        listening = asyncio.create_task(browser.listen())
        try:
            yield browser
        finally:
            with contextlib.suppress(ChromiumError, TimeoutError, OSError):
                await browser.send("Browser.close")
            try:
                async with asyncio.timeout(PATIENCE):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
            listening.cancel()
            transport.close()
            os.close(orders)
