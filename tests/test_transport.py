"""The transport against real sockets that behave, and others that do not."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
import trustme

from moe_middleware.transport import MAX_ANSWER_BYTES, KeptConnections

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
GOOD = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood"


class Server:
    """A server that says what a test wants, and counts its connections."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self.connections = 0
        self.open = 0
        self.port = 0

    async def __call__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        self.open += 1
        try:
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def serving(
    talk: Talk, ssl_context: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    server = Server(talk)
    listening = await asyncio.start_server(server, "127.0.0.1", 0, ssl=ssl_context)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()


async def heard(reader: asyncio.StreamReader) -> bytes:
    """Read one request; return its head and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    [length] = [
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length")
    ]
    return head + await reader.readexactly(length)


def answering(*answers: bytes, close: bool = False) -> Talk:
    """Give these answers on each connection, the last one over and over."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = list(answers)
        while True:
            await heard(reader)
            writer.write(left.pop(0) if len(left) > 1 else left[0])
            await writer.drain()
            if close:
                return

    return talk


@pytest.fixture
async def transport() -> AsyncIterator[KeptConnections]:
    made = KeptConnections()
    yield made
    await made.aclose()


async def ask(
    transport: KeptConnections, server: Server, *, scheme: str = "http"
) -> bytes:
    request = httpx.Request(
        "POST", f"{scheme}://localhost:{server.port}/v1/fetch?a=b", content=b"hello"
    )
    response = await transport.handle_async_request(request)
    return await response.aread()


async def test_a_request_arrives_as_it_was_sent(transport: KeptConnections) -> None:
    requests: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await heard(reader))
        writer.write(GOOD)

    async with serving(talk) as server:
        answer = await ask(transport, server)

    assert answer == b"good"
    assert requests[0].startswith(b"POST /v1/fetch?a=b HTTP/1.1\r\n")
    assert requests[0].endswith(b"\r\n\r\nhello")


async def test_one_connection_serves_one_call_after_the_other(
    transport: KeptConnections,
) -> None:
    async with serving(answering(GOOD)) as server:
        for _ in range(5):
            await ask(transport, server)

        assert server.connections == 1


async def test_calls_at_once_have_a_connection_each_up_to_the_limit() -> None:
    at_once: list[int] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await heard(reader)
            at_once.append(server.open)
            await asyncio.sleep(0.01)
            writer.write(GOOD)

    transport = KeptConnections(max_connections=3)
    async with serving(talk) as server:
        answers = await asyncio.gather(*(ask(transport, server) for _ in range(20)))
        await transport.aclose()

    assert answers == [b"good"] * 20
    assert max(at_once) == server.connections == 3


async def test_a_cancelled_wait_for_a_turn_takes_none_away() -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await heard(reader)
            await asyncio.sleep(0.05)
            writer.write(GOOD)

    transport = KeptConnections(max_connections=1)
    async with serving(slow) as server:
        calls = [asyncio.create_task(ask(transport, server)) for _ in range(4)]
        await asyncio.sleep(0.01)
        calls[1].cancel()
        calls[2].cancel()
        first, last = await calls[0], await calls[3]
        after = await ask(transport, server)
        await transport.aclose()

    assert (first, last, after) == (b"good",) * 3


async def test_an_answer_in_chunks_after_an_early_hint_is_put_together(
    transport: KeptConnections,
) -> None:
    hint = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    async with serving(
        answering(hint + head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    ) as server:
        assert await ask(transport, server) == b"abcde"
        assert await ask(transport, server) == b"abcde"
        assert server.connections == 1


async def test_an_answer_that_ends_with_the_connection_is_whole(
    transport: KeptConnections,
) -> None:
    until_the_end = b"HTTP/1.1 200 OK\r\n\r\nall of it"
    async with serving(answering(until_the_end, close=True)) as server:
        assert await ask(transport, server) == b"all of it"
        assert await ask(transport, server) == b"all of it"
        assert server.connections == 2


async def test_a_connection_that_the_server_wants_closed_is_not_used_again(
    transport: KeptConnections,
) -> None:
    bye = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\nbye"
    async with serving(answering(bye)) as server:
        for _ in range(2):
            assert await ask(transport, server) == b"bye"

        assert server.connections == 2


@pytest.mark.parametrize("pause", [0.0, 0.02])
async def test_a_kept_connection_that_was_closed_costs_nothing_but_a_new_one(
    transport: KeptConnections, pause: float
) -> None:
    async with serving(answering(GOOD, close=True)) as server:
        for _ in range(5):
            assert await ask(transport, server) == b"good"
            await asyncio.sleep(pause)

        assert server.connections == 5


async def test_an_idle_connection_is_closed_in_time() -> None:
    transport = KeptConnections(idle_for=0.02)
    async with serving(answering(GOOD)) as server:
        await ask(transport, server)
        await asyncio.sleep(0.1)
        left_open = server.open
        await ask(transport, server)
        await transport.aclose()

    assert left_open == 0
    assert server.connections == 2


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", httpx.ReadError),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart", httpx.DecodingError),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", httpx.DecodingError),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", httpx.DecodingError),
        (b"\x00" * 200_000, httpx.DecodingError),
    ],
    ids=["nothing", "cut off", "another protocol", "bad length", "zeros"],
)
async def test_what_is_no_answer_is_an_error(
    transport: KeptConnections, answer: bytes, error: type[Exception]
) -> None:
    async with serving(answering(answer, close=True)) as server:
        with pytest.raises(error):
            await ask(transport, server)


async def test_an_endless_answer_is_cut_off(transport: KeptConnections) -> None:
    sent = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await heard(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            sent += 65536
            await writer.drain()

    async with serving(talk) as server:
        with pytest.raises(httpx.DecodingError, match="too large"):
            await ask(transport, server)
        await asyncio.sleep(0.05)

        assert server.open == 0
        assert sent < MAX_ANSWER_BYTES * 4


async def test_a_call_that_was_cancelled_leaves_no_answer_for_the_next_one(
    transport: KeptConnections,
) -> None:
    answers = iter([b"late", b"mine"])
    was_asked, was_cancelled = asyncio.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await heard(reader)
            answer = next(answers)
            if answer == b"late":
                was_asked.set()
                await was_cancelled.wait()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n" + answer)

    async with serving(talk) as server:
        cancelled = asyncio.ensure_future(ask(transport, server))
        await was_asked.wait()
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        was_cancelled.set()
        answer = await ask(transport, server)

    assert answer == b"mine"


async def test_a_closed_port_is_a_connect_error(transport: KeptConnections) -> None:
    async with serving(answering(GOOD)) as server:
        pass

    with pytest.raises(httpx.ConnectError):
        await ask(transport, server)


async def test_tls_is_spoken_with_who_can_prove_its_name() -> None:
    authority = trustme.CA()
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server_context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    knowing, doubting = KeptConnections(ssl_context=trusting), KeptConnections()

    async with serving(answering(GOOD), server_context) as server:
        answers = [await ask(knowing, server, scheme="https") for _ in range(2)]
        connections = server.connections
        with pytest.raises(httpx.ConnectError):
            await ask(doubting, server, scheme="https")
        await knowing.aclose()

    assert answers == [b"good"] * 2
    assert connections == 1
