"""The processes of the benchmarks: what they print is read line by line.

Workers take orders: one JSON line on stdin each, one JSON line back. Rivals work with
the Python of their own virtual environment; so this module imports nothing but the
standard library.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

START_TIMEOUT = 60.0
ORDER_TIMEOUT = 120.0
"""In seconds: a worker that takes longer is stuck."""

STOP_TIMEOUT = 10.0

Answer = dict[str, Any]
Handler = Callable[..., Awaitable[Answer]]

REPOSITORY = Path(__file__).parent.parent


class ProcessError(Exception):
    """A process could not start, ended too soon, or did not do what it should."""


class Process:
    """The parent's side of a process.

    Args:
        name: Who it is, for messages.
        command: What it runs.
        log: Gets its error output.
        environ: What it finds in its environment, beside ours.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        environ: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as errors:
            # A group of its own, so that its children can be killed with it.
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=REPOSITORY,
                env={**os.environ, **environ},
                start_new_session=True,
            )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.stdin: IO[str] = self.process.stdin
        self.stdout: IO[str] = self.process.stdout

    @contextmanager
    def lines(self, timeout: float) -> Iterator[Iterator[str]]:
        """Read what it prints; after ``timeout`` seconds it is killed, and all ends."""
        late = threading.Timer(timeout, self.kill)
        late.start()
        try:
            yield iter(self.stdout.readline, "")
        finally:
            late.cancel()

    def say(self, line: str) -> None:
        """Write a line to its standard input."""
        with suppress(BrokenPipeError):
            print(line, file=self.stdin, flush=True)

    def kill(self) -> None:
        """Kill it and its children."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def end(self, timeout: float) -> bool:
        """Wait for its end, then kill what is left; return whether it did end.

        Attribute ``rest`` has the lines that it has printed and that were not read.
        """
        by_itself = True
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            by_itself = False
        self.kill()
        self.process.wait()
        self.rest = self.stdout.readlines()
        self.stdin.close()
        self.stdout.close()
        return by_itself

    def failed(self) -> ProcessError:
        """Return the error of a process that ended too soon."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        why = lines[-1][:300] if lines else "without a word"
        return ProcessError(f"{self.name} ended: {why}")


class Worker(Process):
    """A process that takes orders.

    Attributes:
        hello: Its first answer, when it was ready.
    """

    hello: Answer

    @property
    def url(self) -> str:
        """Where it listens, if it is a server."""
        return f"http://127.0.0.1:{self.hello['port']}"

    def ask(self, do: str, **details: Any) -> Answer:
        """Give an order and wait for the answer.

        Raises:
            ProcessError: It failed, or took too long.
        """
        self.say(json.dumps({"do": do, **details}))
        return self.answer(ORDER_TIMEOUT)

    def answer(self, timeout: float) -> Answer:
        """Read its next line; ``timeout`` is in seconds."""
        with self.lines(timeout) as lines:
            line = next(lines, "")
        if not line:
            raise self.failed()
        answer: Answer = json.loads(line)
        if "error" in answer:
            raise ProcessError(f"{self.name}: {answer['error']}")
        return answer


@contextmanager
def worker(
    name: str, module: str, *arguments: object, folder: Path, python: str = ""
) -> Iterator[Worker]:
    """Run a module that prints one answer when it is ready, until the block ends.

    Args:
        name: Who it is, for messages.
        module: What to run.
        arguments: Its own.
        folder: Gets its log.
        python: The Python that runs it; left out, this one.

    Raises:
        ProcessError: It did not start.
    """
    command = [python or sys.executable, "-m", module, *map(str, arguments)]
    started = Worker(name, command, folder / f"{name.replace('/', '-')}.log")
    try:
        started.hello = started.answer(START_TIMEOUT)
        yield started
    finally:
        started.process.terminate()
        started.end(STOP_TIMEOUT)


# --- in the process ----------------------------------------------------------------


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
