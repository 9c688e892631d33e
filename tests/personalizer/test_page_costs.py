"""What a page costs, counted: calls do not depend on how busy the machine is."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from starlette.types import ASGIApp

from benchmarks.shop import bare_shop, fill_cache, our_shop, request_scope, visit
from moe_middleware import MoEngageMiddleware, SQLiteOutbox
from moe_middleware.models.events import Action, Event
from moe_middleware.models.experience import Experience
from moe_middleware.outbox.encoding import ImpressionEncoder, decode

PAGES = 20


@pytest.fixture
async def ours(tmp_path: Path) -> AsyncIterator[MoEngageMiddleware]:
    app = our_shop(tmp_path)
    await fill_cache(app, 3)
    yield app
    await app.runtime.stop()


async def calls(app: ASGIApp, path: str) -> Counter[str]:
    """Count the calls of Python functions and of C functions in one request.

    The least of three counts: a task in the background may run during one of them.
    """
    scope = request_scope(path, 1)

    async def visits() -> None:
        for _ in range(PAGES):
            await visit(app, scope)

    async def counted() -> Counter[str]:
        counts = Counter[str]()

        def count(frame: FrameType, event: str, function: object) -> None:
            counts[event] += 1

        gc.disable()
        sys.setprofile(count)
        try:
            await visits()
        finally:
            sys.setprofile(None)
            gc.enable()
        return Counter({event: round(n / PAGES) for event, n in counts.items()})

    await visits()
    return await counted() & await counted() & await counted()


@pytest.mark.parametrize(
    ("path", "python", "c"),
    [
        # A path that no route names.
        ("/unmapped", 8, 13),
        # A cached page with two tags and two impressions.
        ("/", 45, 72),
    ],
)
async def test_a_page_makes_no_more_calls_than_it_did(
    ours: MoEngageMiddleware, path: str, python: int, c: int
) -> None:
    bare, with_us = await calls(bare_shop(), path), await calls(ours, path)

    assert with_us["call"] - bare["call"] <= python
    if sys.version_info < (3, 14):  # which counts more calls of C as such
        assert with_us["c_call"] - bare["c_call"] <= c


async def test_what_was_counted_was_a_page_with_two_impressions(
    ours: MoEngageMiddleware,
) -> None:
    outbox = ours.runtime.outbox
    assert isinstance(outbox, SQLiteOutbox)
    await outbox.flush()
    before = (await outbox.count()).waiting

    await visit(ours, request_scope("/", 1))

    await outbox.flush()
    assert (await outbox.count()).waiting - before == 2


@pytest.mark.parametrize("customer_id", ["alice", 'a "b" \\ ü', "\u2028"])
@pytest.mark.parametrize("offset", [None, 0, 19_800])
@pytest.mark.parametrize("platform", ["web", "tv"])
def test_an_impression_is_read_as_it_was_written(
    customer_id: str, offset: int | None, platform: str
) -> None:
    contexts: list[dict[str, Any]] = [
        {"cid": "x", "n": [1, {"ü": None}]},
        {"moe_locale_id": "0"},
    ]
    shown = [Experience(key="hero", experience_context=context) for context in contexts]
    uuids = [b"u1", b"u2"]

    bodies = ImpressionEncoder(platform, offset).encode(
        shown, customer_id, 1_700_000_000, uuids
    )

    assert [decode(body) for body in bodies] == [
        Event(
            uuid=uuid.decode(),
            customer_id=customer_id,
            action=Action.IMPRESSION,
            occurred_at=1_700_000_000,
            experience_context=context,
            platform=platform,
            user_timezone_offset=offset,
        )
        for uuid, context in zip(uuids, contexts, strict=True)
    ]
