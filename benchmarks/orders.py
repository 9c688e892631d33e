"""Processes that take orders: one JSON line on stdin each, one JSON line back.

Each peer works in a process of its own, rivals with the Python of their own virtual
environment; so this module imports nothing but the standard library.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

START_TIMEOUT = 60.0
ORDER_TIMEOUT = 120.0
"""In seconds: a worker that takes longer is stuck."""

Answer = dict[str, Any]
Handler = Callable[..., Awaitable[Answer]]

REPOSITORY = Path(__file__).parent.parent


class WorkerError(Exception):
    """A worker could not start, or could not carry out an order."""


class Worker:
    """The parent's side of one process.

    Attributes:
        name: Its name.
        hello: Its first answer, when it was ready.
    """

    def __init__(
        self, name: str, process: asyncio.subprocess.Process, log: Path
    ) -> None:
        self.name = name
        self.hello: Answer = {}
        self._process = process
        self._log = log

    async def ask(self, do: str, **details: Any) -> Answer:
        """Give an order and wait for the answer.

        Raises:
            WorkerError: It failed, or took too long.
        """
        assert self._process.stdin is not None
        line = json.dumps({"do": do, **details})
        try:
            self._process.stdin.write(line.encode() + b"\n")
            return await self.answer(ORDER_TIMEOUT)
        except (ConnectionError, TimeoutError) as error:
            raise WorkerError(f"{self.name} did not {do}: {error!r}") from error

    async def answer(self, timeout: float) -> Answer:
        """Read its next line; ``timeout`` is in seconds."""
        assert self._process.stdout is not None
        async with asyncio.timeout(timeout):
            line = await self._process.stdout.readline()
        if not line:
            raise WorkerError(f"{self.name} ended: {_last_line(self._log)}")
        answer: Answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(f"{self.name}: {answer['error']}")
        return answer


@asynccontextmanager
async def worker(
    name: str, command: Sequence[str], directory: Path
) -> AsyncIterator[Worker]:
    """Run a process that takes orders until the block ends.

    Args:
        name: Who it is, for messages.
        command: What to run; it says one line when it is ready.
        directory: Where its log goes.

    Raises:
        WorkerError: It did not start.
    """
    log = directory / f"{name.replace('/', '-')}.log"
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            cwd=REPOSITORY,
        )
    started = Worker(name, process, log)
    try:
        try:
            started.hello = await started.answer(START_TIMEOUT)
        except TimeoutError as error:
            raise WorkerError(f"{name} did not start in time") from error
        yield started
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()


async def obey(hello: Answer, handlers: Mapping[str, Handler]) -> None:
    """Say hello, then do what each line says, until there are no more.

    Other output goes to the log: standard output has the answers alone.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    print(json.dumps(hello), file=answers)
    async for line in _lines():
        order = json.loads(line)
        try:
            answer = await handlers[order.pop("do")](**order)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps(answer), file=answers)


def cannot_start(error: Exception) -> None:
    """Tell the parent why there will be no worker."""
    print(json.dumps({"error": f"{type(error).__name__}: {error}"[:300]}), flush=True)


async def _lines() -> AsyncIterator[str]:
    """Yield standard input's lines; a thread waits for them, the event loop is free."""
    lines: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(lines.put_nowait, line)
        loop.call_soon_threadsafe(lines.put_nowait, "")

    threading.Thread(target=read, name="orders", daemon=True).start()
    while line := await lines.get():
        yield line


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "without a word"
