"""Redis clients: what they take from an address, and whose they are."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from moe_middleware.models.errors import SettingsError
from moe_middleware.network.redis import RedisClients

from ..redis_servers import RedisServer, redis_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    folder = tmp_path_factory.mktemp("redis")
    with redis_server(folder, password="sesame") as running:
        yield running


def clients(url: str) -> RedisClients:
    return RedisClients(url, where="cache.redis", timeout=20.0, max_connections=3)


def test_the_password_is_never_shown() -> None:
    made = clients("redis://me:sesame@redis.example.com:6379/2?password=open")

    assert repr(made) == "RedisClients('redis://redis.example.com:6379/2')"


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("bogus=1", "unexpected keyword argument 'bogus'"),
        ("db=x", "Invalid value for 'db'"),
        ("ssl_ca_certs=/no/such/file.pem", "has an option that redis-py cannot use"),
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
    program = (
        "import sys; sys.modules['redis'] = None\n"
        "from moe_middleware.network.redis import RedisClients\n"
        "RedisClients('redis://:sesame@h', where='cache.redis', timeout=1)"
    )

    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )

    message = 'cache.redis: redis://h needs the redis package: pip install "'
    assert f'{message}moe_middleware[redis]"' in ran.stderr
    assert "sesame" not in ran.stderr


async def test_ours_win_over_the_options_of_the_address(server: RedisServer) -> None:
    url = f"{server.url}?decode_responses=True&max_connections=99&socket_timeout=1e-9"
    made = clients(url)

    await made.current().set("name", b"\xff")

    assert await made.current().get("name") == b"\xff"
    pool: Any = made.current().connection_pool
    assert (pool.max_connections, pool.timeout) == (3, 20.0)
    await made.aclose()


def test_every_event_loop_has_a_client_and_keeps_it(server: RedisServer) -> None:
    made = clients(server.url)
    seen = []

    async def use() -> None:
        client = made.current()
        seen.append(client)
        assert await client.ping()
        assert made.current() is client
        await made.aclose()
        await made.aclose()

    for _ in range(2):
        asyncio.run(use())

    assert seen[0] is not seen[1]


async def test_a_command_that_fails_is_not_sent_again() -> None:
    connections = []

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        writer.close()

    listening = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    made = clients(f"redis://127.0.0.1:{port}")

    with pytest.raises(redis.ConnectionError):
        await made.current().ping()

    assert len(connections) == 1
    await made.aclose()
    listening.close()


async def test_tls_reads_the_certificates_once(tmp_path: Path) -> None:
    with redis_server(tmp_path, tls=True) as server:
        made = clients(server.url)
        pool: Any = made.current().connection_pool
        connections = [await pool.get_connection() for _ in range(3)]

        assert len({id(one.ssl_context.get()) for one in connections}) == 1
        for one in connections:
            await pool.release(one)
        await made.aclose()


@pytest.mark.parametrize("binary", ["redis-server", "valkey-server"])
def test_the_test_server_keeps_its_data_over_a_crash_only_where_asked(
    tmp_path: Path, binary: str
) -> None:
    kept = {}
    for aof in (False, True):
        with redis_server(tmp_path, aof=aof, binary=binary) as server:

            async def use(command: str, server: RedisServer = server) -> Any:
                made = clients(server.url)
                try:
                    client: Any = made.current()
                    return await client.execute_command(*command.split())
                finally:
                    await made.aclose()

            asyncio.run(use("SET name value"))
            server.restart()
            kept[aof] = asyncio.run(use("GET name"))

    assert kept == {False: None, True: b"value"}
