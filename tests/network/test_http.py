"""The transport against real sockets that behave, and others that do not."""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trustme

from moe_middleware.network.addresses import URL
from moe_middleware.network.connection import ReadError
from moe_middleware.network.h11_reader import H11Reader
from moe_middleware.network.http import ConnectError, KeptConnections
from moe_middleware.network.http_responses import (
    MAX_BODY,
    BadResponseError,
    ResponseReader,
)
from moe_middleware.network.httptools_reader import HttptoolsReader

from ..servers import until

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
GOOD = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood"


LOOPS_AND_READERS: dict[str, tuple[bool, Callable[[], ResponseReader]]] = {
    "asyncio and httptools": (False, HttptoolsReader),
    "uvloop and h11": (True, H11Reader),
}


@pytest.fixture(params=LOOPS_AND_READERS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": LOOPS_AND_READERS[request.param][0]}


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
async def transport(
    anyio_backend: tuple[str, dict[str, bool]],
) -> AsyncIterator[KeptConnections]:
    readers = dict(LOOPS_AND_READERS.values())
    made = KeptConnections(reader=readers[anyio_backend[1]["use_uvloop"]])
    yield made
    await made.aclose()


async def ask(
    transport: KeptConnections, server: Server, *, scheme: str = "http"
) -> bytes:
    url = URL.parse(f"{scheme}://localhost:{server.port}/v1/fetch?a=b")
    headers = [(b"Host", url.authority), (b"Content-Length", b"5")]
    return (await transport.send("POST", url, headers, b"hello")).body


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
        await until(lambda: server.open == 0)
        await ask(transport, server)
        await transport.aclose()

    assert server.connections == 2


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", ReadError),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart", ReadError),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", BadResponseError),
    ],
    ids=["nothing", "cut off", "another protocol"],
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
        with pytest.raises(BadResponseError, match="larger than"):
            await ask(transport, server)
        await until(lambda: server.open == 0)

        assert sent < MAX_BODY * 4


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

    # Ahead of need, it is not logged.
    await transport.warm(url(server), 2)
    with pytest.raises(ConnectError):
        await ask(transport, server)


# --- connections ahead of need ---------------------------------------------------


def url(server: Server, scheme: str = "http") -> URL:
    return URL.parse(f"{scheme}://localhost:{server.port}/v1/")


async def test_warm_connections_are_there_before_the_first_call(
    transport: KeptConnections,
) -> None:
    async with serving(answering(GOOD)) as server:
        await transport.warm(url(server), 3)
        await transport.warm(url(server), 2)
        await until(lambda: server.connections == 3)
        answers = await asyncio.gather(*(ask(transport, server) for _ in range(3)))

        assert answers == [b"good"] * 3
        assert server.connections == 3


async def test_no_more_are_opened_than_may_be_used_at_once() -> None:
    transport = KeptConnections(max_connections=2)
    async with serving(answering(GOOD)) as server:
        await transport.warm(url(server), 10)
        await until(lambda: server.connections == 2)
        await transport.aclose()
        await until(lambda: server.open == 0)


async def test_what_is_opened_after_the_end_is_closed_at_once(
    transport: KeptConnections,
) -> None:
    async with serving(answering(GOOD)) as server:
        await transport.aclose()
        await transport.warm(url(server), 2)
        await until(lambda: server.connections == 2)
        await until(lambda: server.open == 0)


async def test_a_warm_connection_that_was_closed_costs_nothing_but_a_new_one(
    transport: KeptConnections,
) -> None:
    first = itertools.count()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if next(first):
            await answering(GOOD)(reader, writer)

    async with serving(talk) as server:
        await transport.warm(url(server), 1)
        await until(lambda: server.connections == 1)

        assert await ask(transport, server) == b"good"
        assert server.connections == 2


# --- connections that are no good ------------------------------------------------


TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n"


@pytest.mark.parametrize("at_once", [True, False])
async def test_bytes_that_were_not_asked_for_are_no_answer(
    transport: KeptConnections, at_once: bool
) -> None:
    heard_all, go_on = asyncio.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await heard(reader)
        writer.write(GOOD + (TIMED_OUT if at_once else b""))
        await go_on.wait()
        if not at_once:
            writer.write(TIMED_OUT)
        await reader.read()
        heard_all.set()

    async with serving(talk) as server:
        first = await ask(transport, server)
        go_on.set()
        await heard_all.wait()
        second = await ask(transport, server)

        assert (first, second) == (b"good", b"good")
        assert server.connections == 2


@pytest.mark.parametrize("others", ["silent", "well"])
async def test_where_one_kept_connection_is_silent_and_no_other_speaks_all_are_closed(
    transport: KeptConnections, others: str
) -> None:
    calls = itertools.count()
    mute = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await heard(reader)
            if next(calls) == 3:
                # As if the machine behind this connection were gone, or only slow.
                mute.set()
                await reader.read()
                return
            await asyncio.sleep(0.01)
            writer.write(GOOD)

    async with serving(talk) as server:
        await asyncio.gather(*(ask(transport, server) for _ in range(3)))
        silent = asyncio.ensure_future(ask(transport, server))
        await mute.wait()
        if others == "well":
            await ask(transport, server)
        silent.cancel()
        left = 2 if others == "well" else 0
        await until(lambda: server.open == left)

        assert await ask(transport, server) == b"good"
        assert server.connections == (3 if others == "well" else 4)


@pytest.mark.parametrize("mark", ["\r\nx: y", "\n", "\r"])
async def test_a_header_that_would_begin_a_line_of_its_own_is_not_sent(
    transport: KeptConnections, mark: str
) -> None:
    async with serving(answering(GOOD)) as server:
        url = URL.parse(f"http://localhost:{server.port}/")
        headers = [(b"Host", url.authority), (b"MOE-APPKEY", f"W{mark}".encode())]
        with pytest.raises(ValueError):
            await transport.send("POST", url, headers, b"")

        assert server.connections == 0


# --- TLS -------------------------------------------------------------------------


class Authority:
    """Signs a server's certificate, and is trusted or not."""

    def __init__(self) -> None:
        self._ca = trustme.CA()

    def server(self, name: str = "localhost") -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._ca.issue_cert(name).configure_cert(context)
        return context

    def trusting(self) -> KeptConnections:
        context = ssl.create_default_context()
        self._ca.configure_trust(context)
        return KeptConnections(ssl_context=context)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


async def test_tls_is_spoken_with_who_can_prove_its_name(authority: Authority) -> None:
    transport = authority.trusting()

    async with serving(answering(GOOD), authority.server()) as server:
        await transport.warm(url(server, "https"), 1)
        answers = [await ask(transport, server, scheme="https") for _ in range(2)]
        await transport.aclose()

        assert answers == [b"good"] * 2
        assert server.connections == 1


@pytest.mark.parametrize("fault", ["of an unknown authority", "of another name"])
async def test_a_certificate_that_proves_nothing_is_a_connect_error(
    authority: Authority, fault: str
) -> None:
    other_name = fault == "of another name"
    transport = authority.trusting() if other_name else KeptConnections()
    certificate = authority.server("elsewhere.test" if other_name else "localhost")

    async with serving(answering(GOOD), certificate) as server:
        with pytest.raises(ConnectError, match="SSLCertVerificationError"):
            await ask(transport, server, scheme="https")

        assert server.connections == 0


async def test_plain_http_at_the_tls_port_is_a_connect_error() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        await reader.read()

    async with serving(talk) as server:
        with pytest.raises(ConnectError, match="SSLError"):
            await ask(KeptConnections(), server, scheme="https")
        await until(lambda: server.open == 0)


async def test_a_handshake_that_hangs_ends_with_the_call(authority: Authority) -> None:
    spoken_to = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        spoken_to.set()
        await reader.read()

    async with serving(talk) as server:
        transport = authority.trusting()
        call = asyncio.ensure_future(ask(transport, server, scheme="https"))
        await spoken_to.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

        await until(lambda: server.open == 0)


async def test_the_certificates_are_read_in_a_thread_of_their_own() -> None:
    hangs = threading.Event()
    executor = concurrent.futures.ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(executor)
    app_waits = asyncio.ensure_future(asyncio.to_thread(hangs.wait, 30))

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)

    async with serving(talk) as server:
        transport = KeptConnections()
        calls = [ask(transport, server, scheme="https") for _ in range(5)]
        ended = await asyncio.gather(*calls, return_exceptions=True)

    assert {type(one) for one in ended} == {ConnectError}
    hangs.set()
    await app_waits
