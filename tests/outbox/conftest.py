"""Every kind of outbox, for the tests of what they all promise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from moe_middleware.outbox import MemoryOutbox, Outbox, SQLiteOutbox

from ..redis_servers import RedisServer, redis_server

OpenOutbox = Callable[..., Outbox]


class Clock:
    """The time, which tests set; it does not go by itself."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis"), aof=True) as server:
        yield server


@pytest.fixture(params=["memory", "sqlite", "redis"])
def open_outbox(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock
) -> Iterator[OpenOutbox]:
    """Opens outboxes, with keywords of their constructor; closes them at the end.

    All outboxes that one test opens are on one store, but for those in memory.
    """
    opened: list[Outbox] = []

    def open_one(**keywords: object) -> Outbox:
        options: dict[str, Any] = {"clock": clock, **keywords}
        if request.param == "memory":
            opened.append(MemoryOutbox(**options))
        elif request.param == "sqlite":
            path = str(tmp_path / "outbox.db")
            opened.append(SQLiteOutbox(path, **options))
        else:
            from moe_middleware.outbox.redis.outbox import RedisOutbox

            url = request.getfixturevalue("redis").url
            options["workspace_id"] = tmp_path.name
            opened.append(RedisOutbox(url, **options))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture
def outbox(open_outbox: OpenOutbox) -> Outbox:
    return open_outbox()
