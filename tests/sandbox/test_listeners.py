"""Sockets that listen: no answer waits for a client's delayed acknowledgement."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

import moe_middleware
from moe_middleware.sandbox.listeners import CannotListen, address_of, listen

ROOT = Path(moe_middleware.__file__).parent.parent


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_answers_are_sent_at_once_on_asyncios_own_loop(host: str) -> None:
    if host == "::1" and not _has_ipv6():
        pytest.skip("no IPv6 here")

    async def without_delay() -> bool:
        accepted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        async def take(
            _reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            taken: socket.socket = writer.get_extra_info("socket")
            found = taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            accepted.set_result(bool(found))
            writer.close()

        with listen(host) as listener:
            port = listener.getsockname()[1]
            async with await asyncio.start_server(take, sock=listener):
                _, writer = await asyncio.open_connection(host, port)
                writer.close()
                return await asyncio.wait_for(accepted, 40)

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        assert runner.run(without_delay())


def test_address_is_what_a_browser_opens() -> None:
    with listen() as listener:
        port = listener.getsockname()[1]

        assert address_of(listener) == f"http://127.0.0.1:{port}"
        assert address_of(listener, "::1") == f"http://[::1]:{port}"


def test_a_host_that_can_have_no_name_is_refused() -> None:
    with pytest.raises(CannotListen, match="that is no name of a host"):
        listen("ü..test")


def test_every_server_of_ours_listens_by_this_helper() -> None:
    folders = ("moe_middleware", "demo_app")
    by_hand = [
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
        if "socket.create_server" in path.read_text().replace("``", "")
    ]

    assert by_hand == ["moe_middleware/sandbox/listeners.py"]


def _has_ipv6() -> bool:
    try:
        with listen("::1"):
            return True
    except CannotListen:
        return False
