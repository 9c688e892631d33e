"""Connecting, with name servers that hang and addresses that are dead."""

from __future__ import annotations

import asyncio
import concurrent.futures
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from moe_middleware.network.sockets import MAX_LOOKUPS, Connector

from ..servers import until

Found = list[tuple[Any, ...]]


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


def found(*listeners: socket.socket) -> Found:
    """What a lookup brings that finds these, in this order."""
    return [
        (one.family, socket.SOCK_STREAM, 6, "", one.getsockname()) for one in listeners
    ]


class NameServer:
    """A ``getaddrinfo`` that answers, or hangs until it is back."""

    def __init__(self, *answers: Found | Exception) -> None:
        self._answers = list(answers)
        self.back = threading.Event()
        self.back.set()
        self.lookups = 0

    def __call__(self, host: str, port: int, **_: Any) -> Found:
        self.lookups += 1
        self.back.wait(30)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@contextmanager
def listening(family: socket.AddressFamily = socket.AF_INET) -> Iterator[socket.socket]:
    host = "127.0.0.1" if family is socket.AF_INET else "::1"
    with socket.create_server((host, 0), family=family) as listener:
        yield listener


@contextmanager
def dead() -> Iterator[socket.socket]:
    """An address that takes nothing and refuses nothing: its queue is full."""
    with socket.socket() as listener, socket.socket() as queued:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        queued.connect(listener.getsockname())
        yield listener


def refusing() -> socket.socket:
    """An address without a listener."""
    made = socket.socket()
    made.bind(("127.0.0.1", 0))
    return made


async def reached(connector: Connector) -> Any:
    """Connect and hang up; return where it was."""
    with await connector.connect() as connected:
        return connected.getpeername()


async def test_an_ip_address_needs_no_lookup() -> None:
    name_server = NameServer(OSError())
    with listening() as listener:
        port = listener.getsockname()[1]
        connector = Connector("127.0.0.1", port, getaddrinfo=name_server)

        assert await reached(connector) == ("127.0.0.1", port)

    assert name_server.lookups == 0


async def test_a_name_is_looked_up_once_for_many_calls() -> None:
    with listening() as listener:
        name_server = NameServer(found(listener))
        connector = Connector("api.test", 1, getaddrinfo=name_server)

        places = await asyncio.gather(*(reached(connector) for _ in range(10)))
        await reached(connector)

        assert set(places) == {listener.getsockname()}
        assert name_server.lookups == 1


async def test_a_lookup_that_hangs_leaves_the_loops_own_threads_free() -> None:
    asyncio.get_running_loop().set_default_executor(
        concurrent.futures.ThreadPoolExecutor(1)
    )
    name_server = NameServer([])
    name_server.back.clear()
    connector = Connector("api.test", 1, getaddrinfo=name_server)

    waiting = [asyncio.ensure_future(connector.connect()) for _ in range(20)]
    await until(lambda: name_server.lookups)

    # Sooner than the lookup ends.
    async with asyncio.timeout(20):
        assert await asyncio.to_thread(lambda: "free") == "free"
    for one in waiting:
        one.cancel()
    ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(one) for one in ended} == {asyncio.CancelledError}
    assert name_server.lookups == 1
    name_server.back.set()


async def test_lookups_that_hang_are_joined_by_a_few_more() -> None:
    with listening() as listener:
        name_server = NameServer(found(listener))
        name_server.back.clear()
        connector = Connector(
            "api.test", 1, getaddrinfo=name_server, look_again_after=0.0
        )
        waiting = [asyncio.ensure_future(reached(connector)) for _ in range(20)]
        await until(lambda: name_server.lookups >= MAX_LOOKUPS)

        name_server.back.set()
        places = await asyncio.gather(*waiting)

        assert set(places) == {listener.getsockname()}
        assert name_server.lookups == MAX_LOOKUPS


async def test_known_addresses_serve_while_the_name_server_hangs() -> None:
    with listening() as listener:
        name_server = NameServer(found(listener))
        connector = Connector("api.test", 1, getaddrinfo=name_server, fresh_for=0.0)
        await reached(connector)
        name_server.back.clear()

        for _ in range(3):
            await reached(connector)

        await until(lambda: name_server.lookups == 2)
        name_server.back.set()


async def test_addresses_without_an_answer_are_looked_up_again() -> None:
    with listening() as listener, refusing() as gone:
        name_server = NameServer(found(gone), found(listener))
        connector = Connector("api.test", 1, getaddrinfo=name_server)

        with pytest.raises(ConnectionRefusedError):
            await connector.connect()

        assert await reached(connector) == listener.getsockname()


async def test_an_address_that_was_too_slow_is_looked_up_again() -> None:
    with listening() as listener, dead() as silent:
        name_server = NameServer(found(silent), found(listener))
        connector = Connector("api.test", 1, getaddrinfo=name_server)

        with pytest.raises(TimeoutError):
            # Long enough to have looked the name up, on a busy machine too.
            async with asyncio.timeout(1.0):
                await connector.connect()

        assert await reached(connector) == listener.getsockname()


@pytest.mark.parametrize("failure", [socket.gaierror("unknown"), UnicodeError("no")])
async def test_a_name_that_is_not_found_is_an_error_of_this_call_alone(
    failure: Exception,
) -> None:
    with listening() as listener:
        name_server = NameServer(failure, found(listener))
        connector = Connector("api.test", 1, getaddrinfo=name_server)

        with pytest.raises(OSError):
            await connector.connect()

        assert await reached(connector) == listener.getsockname()


async def test_a_name_without_an_address_is_an_error() -> None:
    connector = Connector("api.test", 1, getaddrinfo=NameServer([]))

    with pytest.raises(OSError, match="no address"):
        await connector.connect()


async def test_the_next_address_is_tried_beside_one_that_is_silent() -> None:
    with dead() as silent, listening() as listener:
        connector = Connector(
            "api.test", 1, getaddrinfo=NameServer(found(silent, listener))
        )

        assert await reached(connector) == listener.getsockname()


async def test_a_cancellation_is_never_lost_between_two_that_answer() -> None:
    """It may come while the attempt that lost is hung up on."""
    with listening() as one, listening() as other:
        name_server = NameServer(found(one, other))
        connector = Connector("api.test", 1, getaddrinfo=name_server, head_start=1e-6)
        await reached(connector)
        for turns in range(200):
            connecting = asyncio.ensure_future(reached(connector))
            for _ in range(turns % 20):
                await asyncio.sleep(0)

            cancelled = connecting.cancel()
            await asyncio.wait([connecting])

            assert connecting.cancelled() is cancelled


async def test_the_family_that_worked_is_tried_first_from_then_on() -> None:
    try:
        probe = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    place = probe.getsockname()
    probe.close()
    with listening() as listener:
        ipv6 = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", place)
        name_server = NameServer([ipv6, *found(listener)])
        connector = Connector("api.test", 1, getaddrinfo=name_server)
        over_ipv4 = await reached(connector)

        with socket.create_server(place[:2], family=socket.AF_INET6):
            again = await reached(connector)

        assert over_ipv4 == again == listener.getsockname()
