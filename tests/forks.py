"""Runs Python programs without starting Python: a fork of a process that is ready.

A program of ours, or a reader's pytest, takes most of its time to import what it needs.
One process for all tests has imported that, and does nothing else; each program is a
fork of it, with its own arguments, folder, environment and output. Where there is none,
or a program needs what only a start of Python gives, Python is started.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import io
import json
import multiprocessing.process
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import IO, Any, NoReturn

import coverage

WITHOUT_PLUGINS = " ".join(
    f"-p no:{name}"
    for name in ("cacheprovider", "faker", "hypothesispytest", "schemathesis", "valkey")
)
"""Options of pytest without plugins that only our own tests have: importing them takes
most of the time that a reader's pytest would take."""
ADDRESS = "TESTS_FORKS"
"""The environment variable that has the address of the process."""
STARTUP = ("PYTHON", "LC_", "LANG", "LD_")
"""How the names begin of variables that Python reads when it starts."""
MODULES = (
    *("concurrent.futures.thread", "email.mime.text", "html.parser", "sqlite3", "uuid"),
    *("unittest.main", "xml.dom.minidom", "zoneinfo"),
    *("httpx", "jinja2", "orjson", "pydantic", "starlette.testclient", "yaml"),
    *("anyio._backends._asyncio", "httpcore", "h11", "uvicorn.main"),
    *("uvicorn.lifespan.on", "uvicorn.loops.auto", "uvicorn.protocols.http.auto"),
    *("uvicorn.protocols.websockets.auto", "hypercorn.asyncio"),
    *("flask", "quart", "fastapi", "falcon", "django.core.management"),
    *("moe_middleware", "moe_middleware.cli", "moe_middleware.cli.checks"),
    *("moe_middleware.client", "moe_middleware.outbox", "moe_middleware.cache"),
    *("moe_middleware.asgi", "moe_middleware.wsgi", "moe_middleware.jinja"),
    *("moe_middleware.outbox.sqlite", "moe_middleware.sandbox.server"),
    *("moe_middleware.settings.settings", "moe_middleware.testing"),
)
"""What the programs import: what is slow, and has no state that a fork would share."""


class Forked:
    """A program that runs in a fork, with the methods of ``subprocess.Popen``."""

    def __init__(
        self,
        arguments: tuple[str, ...],
        environ: Mapping[str, str],
        cwd: str | Path | None,
        outputs: tuple[IO[bytes], IO[bytes]],
    ) -> None:
        self.args = [sys.executable, *arguments]
        self.returncode: int | None = None
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(os.environ[ADDRESS])
        folder = str(Path(cwd or "").absolute())
        request = json.dumps([arguments, dict(environ), folder]).encode()
        socket.send_fds(self._connection, [request], [one.fileno() for one in outputs])
        self._connection.shutdown(socket.SHUT_WR)
        self._lines = self._connection.makefile()
        self.pid = int(self._lines.readline())

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._connection, selectors.EVENT_READ)
                if not selector.select(timeout):
                    raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = int(self._lines.readline())
            self._lines.close()
            self._connection.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


Program = subprocess.Popen[bytes] | Forked


def start(
    *arguments: str,
    environ: Mapping[str, str] = os.environ,
    cwd: str | Path | None = None,
    stdout: IO[bytes],
    stderr: IO[bytes] | None = None,
) -> Program:
    """Start ``python ARGUMENTS``; its errors go where its output goes, or elsewhere."""
    needs_python = arguments[0].startswith("-") and arguments[0] != "-m"
    changed = _of_the_start(environ) != _of_the_start(os.environ)
    if ADDRESS in os.environ and not (needs_python or changed):
        return Forked(arguments, environ, cwd, (stdout, stderr or stdout))
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=environ,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr or subprocess.STDOUT,
    )


def run(
    *arguments: str,
    environ: Mapping[str, str] = os.environ,
    cwd: str | Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run ``python ARGUMENTS`` to its end and capture its output."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        process = start(
            *arguments, environ=environ, cwd=cwd, stdout=stdout, stderr=stderr
        )
        code = process.wait()
        texts = []
        for file in (stdout, stderr):
            file.seek(0)
            texts.append(file.read().decode())
    return subprocess.CompletedProcess(arguments, code, *texts)


def _of_the_start(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: one for name, one in environ.items() if name.startswith(STARTUP)}


@contextmanager
def serving() -> Iterator[None]:
    """Have such a process, for this process and those that it starts."""
    if not hasattr(os, "fork") or ADDRESS in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        address = os.environ[ADDRESS] = str(Path(folder) / "forks")
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, address],
            cwd=folder,
            # Coverage is measured in the forks that are to be measured.
            env={
                name: one for name, one in os.environ.items() if "COVERAGE" not in name
            }
            | {"PYTEST_ADDOPTS": WITHOUT_PLUGINS},
            stdin=subprocess.PIPE,
        )
        try:
            while not Path(address).exists() and process.poll() is None:
                time.sleep(0.01)
            yield
        finally:
            del os.environ[ADDRESS]
            # The end of its input is its end.
            process.communicate()


# --- in the process that forks ---------------------------------------------


def _serve(address: str) -> tuple[Any, list[int]]:
    """Fork for each request until stdin ends; return only in a fork, with its own."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{address}.new")
    listener.listen(100)
    Path(f"{address}.new").rename(address)
    wakeups, wakeup_sender = socket.socketpair()
    for one in (wakeups, wakeup_sender):
        one.setblocking(False)
    signal.set_wakeup_fd(wakeup_sender.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    selector = selectors.DefaultSelector()
    for file in (sys.stdin, listener, wakeups):
        selector.register(file, selectors.EVENT_READ)
    running: dict[int, socket.socket] = {}
    is_ready = False
    while True:
        ready = {key.fileobj for key, _ in selector.select()}
        if wakeups in ready:
            wakeups.recv(1_000)
            for pid, code in _ended(running):
                with running.pop(pid) as connection, suppress(OSError):
                    connection.sendall(f"{code}\n".encode())
        if listener in ready:
            connection, _ = listener.accept()
            data, fds, *_ = socket.recv_fds(connection, 100_000, 2)
            while more := connection.recv(100_000):
                data += more
            if not is_ready:
                _import()
                is_ready = True
            pid = os.fork()
            if not pid:
                signal.set_wakeup_fd(-1)
                for one in (
                    listener,
                    wakeups,
                    wakeup_sender,
                    connection,
                    *running.values(),
                ):
                    one.close()
                selector.close()
                return json.loads(data), fds
            for fd in fds:
                os.close(fd)
            running[pid] = connection
            connection.sendall(f"{pid}\n".encode())
        if sys.stdin in ready:
            # The tests have ended: a program that hangs ends with them.
            for pid in running:
                os.kill(pid, signal.SIGTERM)
            os._exit(0)


def _ended(running: Mapping[int, object]) -> Iterator[tuple[int, int]]:
    for pid in [*running]:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            yield pid, os.waitstatus_to_exitcode(status)


def _import() -> None:
    import pytest

    # It rewrites the asserts of plugins that it imports, so they come first.
    with redirect_stdout(io.StringIO()):
        pytest.main(["--collect-only"])
    for name in MODULES:
        with suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()


def _become(request: Any, fds: list[int]) -> NoReturn:
    """Run the program of a request as ``python ARGUMENTS`` does, to the end."""
    arguments, environ, folder = request
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with open(os.devnull) as nothing:
        for number, fd in enumerate((nothing.fileno(), *fds)):
            os.dup2(fd, number)
    for fd in fds:
        os.close(fd)
    os.chdir(folder)
    # It remembers the folder in which it was imported.
    vars(multiprocessing.process)["ORIGINAL_DIR"] = folder
    os.environ.clear()
    os.environ.update(environ)
    time.tzset()
    for name in [one for one in sys.modules if one.partition(".")[0] == "tests"]:
        del sys.modules[name]
    code: object = 0

    def leave() -> None:
        # Freeing all that was imported would take longer than most programs.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)

    # What is registered first is called last.
    atexit.register(leave)
    if "COVERAGE_PROCESS_CONFIG" in environ:
        coverage.process_startup()
    try:
        if arguments[0] == "-m":
            sys.path[0] = folder
            sys.argv = arguments[1:]
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            sys.path[0] = str(Path(arguments[0]).resolve().parent)
            sys.argv = arguments
            runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as left:
        code = left.code or 0
        if not isinstance(code, int):
            print(code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    sys.exit()


if __name__ == "__main__":
    _become(*_serve(sys.argv[1]))
