"""Redis clients: what they take from an address, and whose they are."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from moe_middleware.models.errors import SettingsError
from moe_middleware.network.redis import RedisClients

from ..redis_servers import RedisServer, redis_server
from ..servers import PATIENCE


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    folder = tmp_path_factory.mktemp("redis")
    with redis_server(folder, password="sesame") as running:
        yield running


def clients(url: str) -> RedisClients:
    return RedisClients(url, where="cache.redis", timeout=20.0)


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("bogus=1", "unexpected keyword argument 'bogus'"),
        ("db=x", "Invalid value for"),
        ("ssl_cert_reqs=maybe", "has an option that redis-py cannot use"),
    ],
)
def test_an_option_that_cannot_be_used_is_a_mistake_in_the_settings(
    query: str, why: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        clients(f"rediss://:sesame@localhost?{query}")

    assert str(caught.value).startswith("cache.redis: rediss://localhost has an option")
    assert why in str(caught.value)
    assert "sesame" not in str(caught.value)


def test_the_missing_package_is_named() -> None:
    # Python 3.13 and later show the program's lines, so the address is not in them.
    program = (
        "import sys; sys.modules['redis'] = None\n"
        "from moe_middleware.network.redis import RedisClients\n"
        "RedisClients(sys.argv[1], where='cache.redis', timeout=1)"
    )
    command = [sys.executable, "-c", program, "redis://:sesame@h"]

    ran = subprocess.run(command, capture_output=True, text=True)

    message = 'cache.redis: redis://h needs the redis package: pip install "'
    assert f'{message}moe_middleware[redis]"' in ran.stderr
    assert "sesame" not in ran.stderr


async def test_ours_win_over_the_options_of_the_address(server: RedisServer) -> None:
    url = f"{server.url}?decode_responses=True&max_connections=99&socket_timeout=1e-9"
    made = clients(url)

    answers = await made.ask("name", [("SET", "name", b"\xff"), ("GET", "name")])

    assert answers == [b"OK", b"\xff"]
    await made.aclose()


def test_every_event_loop_has_a_connection_and_keeps_it(server: RedisServer) -> None:
    made = clients(server.url)

    async def use() -> list[Any]:
        ids = [(await made.ask("", [("CLIENT", "ID")]))[0] for _ in range(2)]
        await made.aclose()
        await made.aclose()
        return ids

    (one, same), (other, again) = asyncio.run(use()), asyncio.run(use())

    assert one == same != other == again


async def test_commands_at_once_share_a_round_trip(server: RedisServer) -> None:
    made = clients(server.url)

    found = await asyncio.gather(
        *(made.ask("name", [("ECHO", number)]) for number in range(1_200))
    )
    [ids] = await made.ask("", [("CLIENT", "LIST")])

    assert found == [[b"%d" % number] for number in range(1_200)]
    assert len(ids.splitlines()) == 1
    await made.aclose()


async def test_a_caller_that_gives_up_leaves_the_answers_of_others(
    server: RedisServer,
) -> None:
    made = clients(server.url)
    asking = [
        asyncio.ensure_future(made.ask("name", [("ECHO", number)]))
        for number in range(9)
    ]
    await asyncio.sleep(0)

    asking[4].cancel()
    found = await asyncio.gather(*asking, return_exceptions=True)

    assert isinstance(found.pop(4), asyncio.CancelledError)
    assert found == [[b"%d" % number] for number in range(9) if number != 4]
    await made.aclose()


async def test_an_answer_that_comes_too_late_is_never_the_next_commands(
    tmp_path: Path,
) -> None:
    with redis_server(tmp_path) as server:
        made = RedisClients(server.url, where="cache.redis", timeout=0.2)
        await made.ask("a", [("SET", "a", "of a"), ("SET", "b", "of b")])

        server.hang()
        with pytest.raises((redis.RedisError, OSError)):
            await made.ask("a", [("GET", "a")])
        server.resume()
        later = await _answer_of(made, "b")
        await made.aclose()

    assert later == b"of b"


async def _answer_of(made: RedisClients, key: str) -> Any:
    """Return a key's value, as soon as the server answers again."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(redis.RedisError, OSError):
                [answer] = await made.ask(key, [("GET", key)])
                return answer


async def test_a_command_that_fails_is_not_sent_again() -> None:
    connections = []

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        writer.close()

    listening = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    made = clients(f"redis://127.0.0.1:{port}")

    with pytest.raises(redis.ConnectionError):
        await made.ask("", [("PING",)])

    assert len(connections) == 1
    await made.aclose()
    listening.close()
