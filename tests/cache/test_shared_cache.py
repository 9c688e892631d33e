"""Two processes' worth of one site, and the Redis between them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from moe_middleware.sandbox import Sandbox

from ..redis_servers import RedisServer, redis_server
from ..sites import Site

KEY = "homepage-banner"
AMPLE = 5.0
"""A budget that a busy machine does not use up, in seconds."""


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


async def source(request: Request) -> Response:
    found = request.state.experiences
    if request.url.path == "/buy":
        found.forget()
    return PlainTextResponse(found[KEY].source)


class Hosts:
    """Sites with a cache of their own each, as two hosts have it."""

    def __init__(self, redis: RedisServer | None, *, count: int = 2, **cache: Any):
        address = {"redis": redis.url, "redis_timeout": AMPLE} if redis else {}
        self.sites = [
            Site(
                source,
                path="/{rest:path}",
                routes=[{"path": "/", "experiences": [KEY]}],
                cache={**address, **cache},
                fetch={"timeout": AMPLE},
            )
            for _ in range(count)
        ]

    async def get(self, host: int, path: str = "/", customer: str = "alice") -> str:
        return (await self.sites[host].get(path, customer=customer)).text

    async def settle(self) -> None:
        """Let Redis have what the sites have fetched."""
        for site in self.sites:
            if site.runtime.shared_cache is not None:
                await site.runtime.shared_cache.settle()

    async def stop(self) -> None:
        for site in self.sites:
            await site.runtime.stop()


async def test_what_one_host_fetched_the_other_finds(
    sandbox: Sandbox, redis: RedisServer
) -> None:
    hosts = Hosts(redis)

    sources = [await hosts.get(0)]
    await hosts.settle()
    sources += [await hosts.get(1), await hosts.get(1)]
    await hosts.stop()

    assert sources == ["api", "cache", "cache"]
    assert sandbox.calls["fetch"] == 1


async def test_a_stale_answer_of_the_other_host_stands_in_for_a_failing_api(
    sandbox: Sandbox, redis: RedisServer
) -> None:
    hosts = Hosts(redis, ttl=0.1, stale=600)
    await hosts.get(0)
    await hosts.settle()
    await asyncio.sleep(0.2)
    sandbox.fault(path="fetch", status=503, times=None)

    sources = [await hosts.get(1) for _ in range(3)]
    await hosts.stop()

    assert sources == ["stale"] * 3


async def test_what_is_forgotten_here_is_not_found_there(
    sandbox: Sandbox, redis: RedisServer
) -> None:
    hosts = Hosts(redis, count=3)
    await hosts.get(0)
    await hosts.settle()

    await hosts.get(1, "/buy")
    sources = [await hosts.get(1), await hosts.get(2)]
    await hosts.stop()

    assert sources[0] == "api"
    assert sources[1] in ("cache", "api")
    assert sandbox.calls["fetch"] >= 2


async def test_no_id_is_written_into_redis(
    sandbox: Sandbox, redis: RedisServer
) -> None:
    import redis as redis_package

    hosts = Hosts(redis)
    await hosts.get(0, customer="alice@example.com")
    await hosts.settle()
    await hosts.stop()

    with redis_package.Redis.from_url(redis.url) as plain:
        keys = plain.keys("*")
        assert isinstance(keys, list) and keys
        kept = b" ".join([*keys, *(plain.get(key) or b"" for key in keys)])

    assert b"alice" not in kept
