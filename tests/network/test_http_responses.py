"""Good and malformed responses: one table, two readers.

Each is fed whole, byte by byte, and in pieces of odd sizes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moe_middleware.network.h11_reader import H11Reader
from moe_middleware.network.http_responses import (
    MAX_BODY,
    MAX_INTERIMS,
    MAX_PIECES,
    BadResponseError,
    Response,
    ResponseReader,
)
from moe_middleware.network.httptools_reader import HttptoolsReader

from ..rows import each

READERS: dict[str, Callable[[], ResponseReader]] = {
    "httptools": HttptoolsReader,
    "h11": H11Reader,
}
OK = b"HTTP/1.1 200 OK\r\n"
GOOD = OK + b"content-length: 4\r\n\r\ngood"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
HINT = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest) -> ResponseReader:
    return READERS[request.param]()


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def read(reader: ResponseReader, data: bytes, size: int = 1 << 30) -> Response | None:
    reader.begin()
    for piece in pieces(data, size):
        if (response := reader.feed(piece)) is not None:
            return response
    return None


WHOLE = {
    "a length": (GOOD, 200, b"good"),
    "no reason": (b"HTTP/1.1 200\r\ncontent-length: 4\r\n\r\ngood", 200, b"good"),
    "an empty body": (OK + b"Content-Length: 0\r\n\r\n", 200, b""),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "not modified": (
        b"HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\n",
        *(304, b""),
    ),
    "chunks": (CHUNKED + b"3\r\ngoo\r\n1\r\nd\r\n0\r\n\r\n", 200, b"good"),
    "chunks with extensions and trailers": (
        CHUNKED + b"4;a=b\r\ngood\r\n0\r\nx-y: z\r\n\r\n",
        *(200, b"good"),
    ),
    "very many chunks": (
        CHUNKED + b"1\r\nx\r\n" * 3_000 + b"0\r\n\r\n",
        200,
        b"x" * 3_000,
    ),
    "hints before it": (HINT + HINT + GOOD, 200, b"good"),
    "an offer to upgrade": (
        OK + b"upgrade: h2c\r\nconnection: upgrade\r\ncontent-length: 4\r\n\r\ngood",
        *(200, b"good"),
    ),
    "an odd status": (
        b"HTTP/1.1 599 Odd\r\ncontent-length: 4\r\n\r\ngood",
        *(599, b"good"),
    ),
}


@each(("make", "name", "size"), product(READERS.values(), WHOLE, [1 << 30, 1, 7]))
def test_a_good_response_is_read_and_the_connection_kept(
    make: Callable[[], ResponseReader], name: str, size: int
) -> None:
    reader, (data, status, body) = make(), WHOLE[name]

    for _ in range(3):
        response = read(reader, data, size)

        assert response is not None
        assert (response.status, response.body) == (status, body)
        assert reader.reusable


REFUSED = {
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "RTSP": b"RTSP/1.0 200 OK\r\ncontent-length: 4\r\n\r\ngood",
    "HTTP/2": b"HTTP/2.0 200 OK\r\ncontent-length: 4\r\n\r\ngood",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\ncontent-length: 4\r\n\r\ngood",
    "a request": b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
    "zeros": b"\0" * 200_000,
    "blank lines": b"\r\n" * 20_000,
    "a status of two digits": b"HTTP/1.1 20 OK\r\ncontent-length: 4\r\n\r\ngood",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\ncontent-length: 4\r\n\r\ngood",
    "switching protocols": (
        b"HTTP/1.1 101 Switch\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n" + GOOD
    ),
    "switching without a word": b"HTTP/1.1 101 Switch\r\n\r\n" + GOOD,
    "two lengths": OK + b"content-length: 4\r\ncontent-length: 5\r\n\r\ngood!",
    "two lengths in one": OK + b"content-length: 4, 5\r\n\r\ngood!",
    "a length and chunks": (
        OK + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "chunks and a length": (
        OK + b"transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n"
    ),
    "chunks twice": (
        OK + b"transfer-encoding: chunked\r\n" * 2 + b"\r\n4\r\ngood\r\n0\r\n\r\n"
    ),
    "packed chunks": (
        OK + b"transfer-encoding: gzip, chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n"
    ),
    "chunks that are not the last coding": (
        OK + b"transfer-encoding: chunked, gzip\r\n\r\n4\r\ngood\r\n0\r\n\r\n"
    ),
    "another coding": OK + b"transfer-encoding: gzip\r\n\r\n" + b"x" * 99,
    "a coding with a vertical tab": (
        OK + b"transfer-encoding: \x0bchunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n"
    ),
    "a negative length": OK + b"content-length: -4\r\n\r\ngood",
    "a signed length": OK + b"content-length: +4\r\n\r\ngood",
    "a hexadecimal length": OK + b"content-length: 0x4\r\n\r\ngood",
    "an underlined length": OK + b"content-length: 1_0\r\n\r\n0123456789",
    "a length of other digits": OK + "content-length: ٤\r\n\r\ngood".encode(),
    "an enormous length": OK + b"content-length: " + b"9" * 9_000 + b"\r\n\r\n",
    "too long a body": OK + b"content-length: %d\r\n\r\n" % (MAX_BODY + 1),
    "a blank before a colon": OK + b"content-length : 4\r\n\r\ngood",
    "a header without a name": OK + b": x\r\ncontent-length: 4\r\n\r\ngood",
    "a header without a colon": OK + b"x\r\ncontent-length: 4\r\n\r\ngood",
    "a NUL in a header": OK + b"a: b\0c\r\ncontent-length: 4\r\n\r\ngood",
    "a lone CR in a header": OK + b"a: b\rc\r\ncontent-length: 4\r\n\r\ngood",
    "a chunk of negative size": CHUNKED + b"-4\r\ngood\r\n0\r\n\r\n",
    "a chunk of signed size": CHUNKED + b"+4\r\ngood\r\n0\r\n\r\n",
    "a chunk of 0x size": CHUNKED + b"0x4\r\ngood\r\n0\r\n\r\n",
    "a chunk without size": CHUNKED + b"\r\ngood\r\n0\r\n\r\n",
    "a chunk of enormous size": CHUNKED + b"f" * 40 + b"\r\ngood\r\n0\r\n\r\n",
    "a chunk longer than it says": CHUNKED + b"4\r\ngoodbad\r\n0\r\n\r\n",
    "one-byte chunks": CHUNKED + b"1\r\nx\r\n" * (MAX_PIECES + 1),
    "a long chunk extension": CHUNKED + b"1;" + b"x" * 1_000_000,
    "long trailers": CHUNKED + b"0\r\n" + b"a: b\r\n" * 50_000,
    "many headers": OK + b"a: b\r\n" * 50_000 + b"\r\n",
    "a long header": OK + b"a: " + b"b" * 1_000_000,
    "a long reason": b"HTTP/1.1 200 " + b"b" * 1_000_000,
    "hints for ever": HINT * (MAX_INTERIMS + 1),
}


@each(("make", "name", "size"), product(READERS.values(), REFUSED, [1 << 30, 1_000]))
def test_a_hostile_response_is_refused(
    make: Callable[[], ResponseReader], name: str, size: int
) -> None:
    with pytest.raises(BadResponseError) as caught:
        read(make(), REFUSED[name], size)

    # The text may be logged: it is one of ours.
    assert re.fullmatch(r"the answer [a-z0-9 ,-]+(HTTP)?", str(caught.value))


@pytest.mark.parametrize(
    ("behind", "size"),
    [
        (GOOD, 1 << 30),
        (b"x", 1 << 30),
        (b"\0", 1 << 30),
        (b"HTTP/1.1 200", 1 << 30),
        (b"x" * 40_000, 1 << 30),
        (GOOD, len(GOOD) + 3),
    ],
)
def test_what_follows_a_response_is_never_the_next_one(
    reader: ResponseReader, behind: bytes, size: int
) -> None:
    response = read(reader, GOOD + behind, size)

    assert response is not None
    assert response.body == b"good"
    assert not reader.reusable


@pytest.mark.parametrize(
    "data",
    [
        OK + b"connection: close\r\ncontent-length: 4\r\n\r\ngood",
        b"HTTP/1.0 200 OK\r\ncontent-length: 4\r\n\r\ngood",
    ],
)
def test_a_connection_that_is_to_be_closed_is_not_kept(
    reader: ResponseReader, data: bytes
) -> None:
    response = read(reader, data)

    assert response is not None
    assert response.body == b"good"
    assert not reader.reusable


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_body_without_a_length_ends_with_the_connection(
    reader: ResponseReader, version: bytes
) -> None:
    data = b"HTTP/%b 200 OK\r\na: b\r\n\r\ngood" % version
    assert read(reader, data, 5) is None

    response = reader.end()

    assert response is not None
    assert (response.body, reader.reusable) == (b"good", False)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 20",
        OK,
        OK + b"content-length: 5\r\n\r\ngood",
        CHUNKED + b"9\r\nx",
    ],
)
def test_a_response_that_was_cut_off_is_none(
    reader: ResponseReader, data: bytes
) -> None:
    assert read(reader, data) is None
    assert reader.end() is None
    assert not reader.reusable


def test_a_large_body_is_read_up_to_its_limit(reader: ResponseReader) -> None:
    head = OK + b"content-length: %d\r\n\r\n" % MAX_BODY

    response = read(reader, head + b"x" * MAX_BODY, 60_000)

    assert response is not None
    assert len(response.body) == MAX_BODY
    assert read(reader, GOOD) is not None


def test_headers_come_by_lower_case_names_and_twice_is_joined(
    reader: ResponseReader,
) -> None:
    head = OK + b"X-A: one\r\nx-a: two\r\nDate:  now \r\nx-b: caf\xe9\r\n"

    response = read(reader, HINT + head + b"Content-Length: 0\r\n\r\n")

    assert response is not None
    assert {*response.headers} == {"x-a", "date", "x-b", "content-length"}
    assert response.headers["x-a"] == "one, two"
    assert (response.headers["date"], response.headers["x-b"]) == ("now", "café")


@given(st.binary(max_size=200), st.integers(1, 50))
def test_no_bytes_break_a_reader(data: bytes, size: int) -> None:
    for make in READERS.values():
        for prefix in (b"", OK, CHUNKED):
            try:
                read(make(), prefix + data, size)
            except BadResponseError:
                continue
