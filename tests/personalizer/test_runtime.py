from __future__ import annotations

import asyncio
import inspect
import os
import socket
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from moe_middleware import (
    MoEngageMiddleware,
    MoEngageWSGIMiddleware,
    SettingsError,
)
from moe_middleware.personalizer.open_runtimes import runtime_for
from moe_middleware.personalizer.runtime import Runtime

from ..servers import PATIENCE
from ..sites import Site, settings

LINE = "sandbox_in_each_process processes="
CONFIG = (
    "workspace: {data_center: sandbox}\nroutes: [{path: /, experiences: [hero1]}]\n"
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "moe.yml"
    path.write_text(CONFIG)
    return path


async def nothing(*_: object) -> None: ...


def test_middlewares_of_one_file_share_one_runtime_until_it_changes(
    config: Path,
) -> None:
    first, second = (MoEngageMiddleware(nothing, config) for _ in range(2))
    config.write_text(CONFIG.replace("hero1", "hero2"))

    assert first.runtime is second.runtime
    assert runtime_for(config) is not first.runtime


def test_keywords_win_over_the_file_and_another_key_is_another_configuration(
    config: Path,
) -> None:
    server: dict[str, Any] = {"base_url": "http://127.0.0.1:1/v1"}
    first = runtime_for(config, api_key="one", **server)

    assert first.settings.workspace.url == server["base_url"]
    assert runtime_for(config, api_key="two", **server) is not first
    assert runtime_for(config, api_key="one", **server) is first


def test_a_settings_object_has_a_runtime_of_its_own() -> None:
    made = settings()
    first = runtime_for(made)

    assert runtime_for(made) is first
    assert runtime_for(settings()) is not first


def test_keywords_beside_settings_explain_themselves() -> None:
    with pytest.raises(SettingsError, match="set api_key in the Settings"):
        MoEngageMiddleware(nothing, settings(), api_key="K")


def test_an_unknown_keyword_is_named(config: Path) -> None:
    misspelt: dict[str, Any] = {"api_kee": "K"}
    for door in (MoEngageMiddleware, MoEngageWSGIMiddleware):
        app: Any = nothing if door is MoEngageMiddleware else lambda *_: []
        with pytest.raises(TypeError, match="api_kee: take config or workspace_id"):
            door(app, config, **misspelt)
        known = [*inspect.signature(door).parameters][2:]
        assert known == ["workspace_id", "api_key", "data_center", "base_url"]


async def test_two_workspaces_in_one_outbox_are_logged_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def started(brand: str, outbox: str) -> Runtime:
        workspace = {"id": brand, "api_key": "k", "base_url": "http://127.0.0.1:9/v1"}
        runtime = Runtime(settings(workspace=workspace, events={"outbox": outbox}))
        runtime.start()
        return runtime

    shared = f"sqlite:///{tmp_path}/outbox.db"
    same_file = f"sqlite:///{tmp_path}/../{tmp_path.name}/outbox.db"
    running = [started("tea", shared), started("tea", same_file)]
    running += [started("milk", "memory:"), started("cocoa", "memory:")]
    running += [started("cake", f"sqlite:///{tmp_path}/other.db")]
    assert "outbox_of_two_workspaces" not in caplog.text

    running.append(started("coffee", same_file))

    [line] = [one for one in caplog.messages if one.startswith("outbox_of_two")]
    assert f"outbox={same_file}" in line
    for one in running:
        await one.stop()


async def test_servers_with_a_sandbox_each_are_logged_and_those_that_share_one_are_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    others = ["elsewhere:7", f"{socket.gethostname()}:{2**22 + 1}"]
    note = {"role": "server", "noted_at": time.time()}
    running: list[Runtime] = []
    for address in ({"base_url": "http://127.0.0.1:9/v1"}, {}):
        outbox = f"sqlite:///{tmp_path}/outbox-{len(running)}.db"
        running.append(Runtime(settings(events={"outbox": outbox}, **address)))
        for other in others:
            content = orjson.dumps({"process": other, **note})
            await running[-1].outbox.note(f"{other}:server:1", content)
        running[-1].start()

    async with asyncio.timeout(PATIENCE):
        while LINE not in caplog.text:
            await asyncio.sleep(0.05)
        for one in running:
            while len(await one.outbox.notes()) <= len(others):
                await asyncio.sleep(0.05)
            # It has looked at them again by then.
            await one.outbox.notes()
            await one.outbox.notes()
            await one.stop()

    # The other one of this host has ended.
    assert caplog.text.count(f"{LINE}2: ") == caplog.text.count(LINE) == 1


async def fetched(request: Request) -> Response:
    found = await request.state.experiences.fetch("homepage-banner")
    return PlainTextResponse(found.source)


def test_a_page_fetches_on_its_own_loop_although_another_one_is_left() -> None:
    site = Site(fetched, routes=[])
    loops = [asyncio.new_event_loop() for _ in range(2)]

    pages = [loop.run_until_complete(site.get()) for loop in loops]

    assert [page.text for page in pages] == ["api", "api"]
    for loop in loops:
        loop.run_until_complete(site.runtime.stop())
        loop.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_page_fetches_on_the_loop_of_its_process_after_a_fork() -> None:
    site = Site(fetched, routes=[])

    async def visit_and_fork() -> int:
        await site.get()
        child = os.fork()
        if child == 0:
            code = 99
            try:
                asyncio.events._set_running_loop(None)
                page = asyncio.run(site.get())
                code = int(page.text != "api")
            finally:
                os._exit(code)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        await site.runtime.stop()
        return os.waitstatus_to_exitcode(status)

    assert asyncio.run(visit_and_fork()) == 0
