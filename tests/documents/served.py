"""Does what a document shows with real servers, which are asked over the network.

Each command is a process of its own. A port that the document names, and a server's
usual one, stand for a free port.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from .. import forks
from ..servers import PATIENCE, free_port, running, wait_for
from .newcomer import Newcomer
from .reading import Block

SERVERS = {
    "daphne": (8000, "--port={}"),
    "flask run": (5000, "--port={}"),
    "granian": (8000, "--port={}"),
    "gunicorn": (8000, "--bind=127.0.0.1:{}"),
    "hypercorn": (8000, "--bind=127.0.0.1:{}"),
    "litestar run": (8000, "--port={}"),
    "moe-middleware sandbox": (8787, "--port={}"),
    "python -m http.server": (3000, "{}"),
    "python manage.py runserver": (8000, "{} --noreload"),
    "quart run": (5000, "--port={}"),
    "uvicorn": (8000, "--port={}"),
    "waitress-serve": (8080, "--listen=127.0.0.1:{}"),
}
"""Commands that serve: their usual port, and how another one is given."""

_SECOND = 8788
"""A second sandbox's."""
_USUAL = "|".join({str(port) for port, _ in SERVERS.values()} | {str(_SECOND)})
_PORT = re.compile(rf"(127\.0\.0\.1:|localhost:|port[= ]|http\.server )({_USUAL})\b")
CURL = httpx.Client(
    trust_env=False,
    timeout=PATIENCE,
    limits=httpx.Limits(max_keepalive_connections=0),
)
"""Opens a connection for each request, as the command does."""
_SCRIPTS = Path(sys.executable).parent


@dataclass
class ServedNewcomer(Newcomer):
    """Starts what serves as a process, and gives every other command to the system."""

    ports: dict[str, int] = field(default_factory=dict)
    servers: dict[int, ExitStack] = field(default_factory=dict)
    jobs: list[subprocess.Popen[bytes]] = field(default_factory=list)
    waits: bool = False

    def follow(self, block: Block) -> None:
        text = _PORT.sub(lambda found: f"{found[1]}{self._port(found[2])}", block.text)
        self.waits = False
        super().follow(replace(block, text=text))

    def give(self, command: str, shown: str) -> None:
        if command.endswith("&"):
            self._start_job(command[:-1])
            return
        if self.waits or "/_moe/sandbox/" in command:
            # Events are delivered about a second after their page. Most commands start
            # a process.
            with suppress(AssertionError):
                wait_for(lambda: self._settles(command, shown), what=command, every=0.5)
        super().give(command, shown)

    def _settles(self, command: str, shown: str) -> bool:
        shows = self._shows(command, shown)
        if not shows or not command.endswith("outbox status"):
            return shows
        # An event is no waiting one until it is stored, a moment after its page.
        time.sleep(1.5)
        return self._shows(command, shown)

    def write(self, block: Block) -> None:
        super().write(block)
        if str(block.file).startswith("test_"):
            self.unused.add(str(block.file))

    def restart(self) -> None:
        """Nothing was imported: the next process reads what is written now."""

    def run(self, words: list[str]) -> bool:
        match words:
            case ["sleep", _]:
                self.waits = True  # for what the block's next commands show
                return False
            case ["kill", signal_name, job]:
                number = int(job.removeprefix("%"))
                which = signal.Signals[f"SIG{signal_name[1:]}"]
                self.jobs[number - 1].send_signal(which)
                return False
            case ["export" | "make" | "pip" | "curl" | "echo", *_]:
                return super().run(words)
        self.unused -= {*words}
        port = self._port_to_serve(words)
        if port is not None:
            self._serve(words, port)
            return False
        program = _SCRIPTS / words[0]
        if words[0] == "python":
            ran = forks.run(*words[1:])
        elif program.exists():
            ran = forks.run(str(program), *words[1:])
        else:
            ran = subprocess.run(words, capture_output=True, text=True, check=False)
        self.output = ran.stdout + ran.stderr
        return True

    def visit(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: str | None = None,
    ) -> Any:
        sent = {"User-Agent": "curl/8", **(headers or {})}
        at = urlsplit(url)
        if str(at.hostname).endswith(".localhost"):  # as curl and browsers do
            sent["Host"] = at.netloc
            url = at._replace(netloc=f"127.0.0.1:{at.port}").geturl()
        try:
            return CURL.request(method, url, headers=sent, content=body)
        finally:
            CURL.cookies.clear()

    def close(self) -> None:
        """End what runs, as SIGTERM does. Every event has been delivered then."""
        served = bool(self.servers)
        for job in self.jobs:
            job.terminate()
            job.wait(PATIENCE)
        while self.servers:
            self.servers.popitem()[1].close()
        if served and (self.folder / "moe-outbox.db").exists():
            self.run(["moe-middleware", "outbox", "status"])
            assert re.search(r"^waiting +0$", self.output, re.M), self.output

    def _python(self, block: Block) -> None:
        assert block.file, f"line {block.line}: name the file, in the first line"
        self.write(block)

    def _port(self, usual: object) -> int:
        return self.ports.setdefault(str(usual), free_port())

    def _port_to_serve(self, words: list[str]) -> int | None:
        """Return the port at which a command will serve; name it, if it does not."""
        text = " ".join(words)
        if words[0] == "python" and words[1].endswith(".py"):
            text += (self.folder / words[1]).read_text(encoding="utf-8")
        named = [port for port in self.ports.values() if str(port) in text]
        for command, (usual, option) in SERVERS.items():
            if {*command.split()} <= {*words} and "--write-sample" not in words:
                if not named:
                    words += option.format(self._port(usual)).split()
                return (*named, self._port(usual))[0]
        return named[0] if named and words[0] == "python" else None

    def _serve(self, words: list[str], port: int) -> None:
        if port in self.servers:
            self.servers.pop(port).close()
        command, *arguments = words
        if command != "python":
            arguments.insert(0, str(_SCRIPTS / command))
        self.servers[port] = ExitStack()
        log = self.folder / ".server.log"
        self.servers[port].enter_context(running(*arguments, port=port, log=log))

    def _start_job(self, command: str) -> None:
        job = subprocess.Popen(["sh", "-c", f"exec {command}"])
        self.jobs.append(job)
        status = Path(f"/proc/{job.pid}/status")

        def handles_signals() -> bool:
            caught = re.search(r"^SigCgt:\s*(\w+)$", status.read_text(), re.M)
            return bool(caught and int(caught[1], 16) & 1 << signal.SIGTERM - 1)

        # It is ready then. The next command may send it one.
        wait_for(handles_signals, what=f"{command} to handle signals")

    def _shows(self, command: str, shown: str) -> bool:
        with suppress(AssertionError):
            super().give(command, shown)
            return True
        return False


@pytest.fixture
def served_newcomer(newcomer: Newcomer) -> Iterator[ServedNewcomer]:
    """A reader in an empty folder, whose servers end with the document."""
    path = f"{_SCRIPTS}{os.pathsep}{os.environ['PATH']}"
    newcomer.patch.setenv("PATH", path)
    served = ServedNewcomer(newcomer.folder, newcomer.patch)
    with closing(served):
        yield served
