"""A rotated API key is read from its file again, without a restart."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import signal
import time
from pathlib import Path

import pytest

from moe_middleware import AuthenticationError, MoEngageClient, Settings
from moe_middleware.client.key_files import KeyFiles
from moe_middleware.models.reasons import Reason
from moe_middleware.personalizer.runtime import Runtime

from .. import forks
from ..makers import event
from ..servers import wait_for


def load(tmp_path: Path, url: str, text: str | None = None, **environ: str) -> Settings:
    file = tmp_path / "moe.yml"
    file.write_text(
        text or f"workspace: {{id: sandbox, base_url: '{url}'}}\nroutes: []"
    )
    return Settings.load(file, environ=environ)


async def accepted(client: MoEngageClient) -> bool:
    try:
        await client.metadata()
    except AuthenticationError:
        return False
    return True


@pytest.mark.parametrize(
    "key", ["MOE_API_KEY_FILE", "SHOP_KEY_FILE"], ids=["variable", "file"]
)
async def test_a_changed_file_is_read_again(
    tmp_path: Path,
    address: str,
    key: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    url = f"{address}/v1"
    secret = tmp_path / "key"
    secret.write_text("an-old-key\n")
    text = f"workspace: {{id: sandbox, api_key: '${{SHOP_KEY}}', base_url: '{url}'}}\n"
    given = load(tmp_path, url, f"{text}routes: []", **{key: str(secret)})
    async with MoEngageClient(given) as client:
        files = KeyFiles(given, client.use_keys)
        assert files.any
        assert not await accepted(client)

        # As Kubernetes does it: another file takes its place.
        other = tmp_path / "other"
        other.write_text("sandbox-key\n")
        other.replace(secret)
        files.read_if_changed()
        files.read_if_changed()

        assert await accepted(client)
    changed = [line for line in caplog.messages if line.startswith("api_key_changed")]
    assert changed == ["api_key_changed keys=1"]
    assert "sandbox-key" not in caplog.text


async def test_a_file_that_cannot_be_read_leaves_the_key(
    tmp_path: Path, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    secret = tmp_path / "key"
    secret.write_text("sandbox-key")
    url = f"{address}/v1"
    given = load(tmp_path, url, MOE_API_KEY_FILE=str(secret))
    async with MoEngageClient(given) as client:
        files = KeyFiles(given, client.use_keys)
        for broken in ("", "two words", None):
            secret.unlink() if broken is None else secret.write_text(broken)
            files.read_if_changed()
            files.read_if_changed()

            assert await accepted(client)
    unread = [line for line in caplog.messages if line.startswith("api_key_unread")]
    assert len(unread) == 3
    assert "two words" not in caplog.text


async def test_two_keys_become_one_while_calls_are_under_way(
    tmp_path: Path, address: str
) -> None:
    url = f"{address}/v1"
    workspace = {"id": "sandbox", "base_url": url}
    two = Settings(workspace={**workspace, "api_keys": ["wrong", "sandbox-key"]})
    one = Settings(workspace={**workspace, "api_key": "sandbox-key"})
    async with MoEngageClient(two) as client:
        for keys in (one.workspace.keys, two.workspace.keys) * 5:
            calls = [asyncio.create_task(accepted(client)) for _ in range(4)]
            await asyncio.sleep(0)
            client.use_keys(keys)
            assert all(await asyncio.gather(*calls))


async def test_the_running_site_looks_by_itself(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moe_middleware.client.key_files.EVERY", 0.02)
    secret = tmp_path / "key"
    secret.write_text("an-old-key")
    url = f"{address}/v1"
    given = load(tmp_path, url, MOE_API_KEY_FILE=str(secret))
    async with MoEngageClient(given) as client:
        watch = asyncio.create_task(KeyFiles(given, client.use_keys).watch())
        secret.write_text("sandbox-key")
        async with asyncio.timeout(30):
            while not await accepted(client):
                await asyncio.sleep(0.02)
        watch.cancel()


async def test_a_mended_key_rouses_pages_and_the_relay(
    tmp_path: Path, address: str
) -> None:
    secret = tmp_path / "key"
    secret.write_text("an-old-key")
    outbox = f"sqlite:///{tmp_path}/outbox.db"
    text = f"events: {{outbox: '{outbox}', interval: 0.05}}\nroutes: []\n"
    text += f"workspace: {{id: sandbox, base_url: '{address}/v1'}}\n"
    given = load(tmp_path, address, text, MOE_API_KEY_FILE=str(secret))
    runtime = Runtime(given)
    runtime.fetcher.breaker.pause(time.monotonic(), 60, Reason.UNAUTHORIZED)
    relay = runtime.new_relay()
    runtime.outbox.append([event(occurred_at=int(time.time()))])
    running = asyncio.create_task(relay.run())
    async with asyncio.timeout(60):
        while (next_try_at := relay.state.next_try_at) is None:
            await asyncio.sleep(0.02)
        secret.write_text("sandbox-key")
        # As a signal's handler or another loop's look would, from a thread.
        await asyncio.to_thread(runtime.key_files.read)
        while (delivered_at := relay.state.delivered_at) is None:
            await asyncio.sleep(0.02)
    asks_again = runtime.fetcher.breaker.allows(time.monotonic())
    relay.stop()
    await running
    await runtime.stop()

    assert delivered_at < next_try_at
    assert asks_again


def test_settings_with_a_file_are_copied_and_pickled(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("k")
    given = load(tmp_path, "http://127.0.0.1:9/v1", MOE_API_KEY_FILE=str(secret))
    # As after the first page.
    assert callable(given.identity.visitor_id.read)

    assert copy.deepcopy(given) == given
    assert pickle.loads(pickle.dumps(given)) == given
    assert given == Settings(
        workspace={"id": "sandbox", "api_key": "k", "base_url": "http://127.0.0.1:9/v1"}
    )


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no SIGHUP here")
def test_the_relay_reads_it_at_a_hup(tmp_path: Path, address: str) -> None:
    secret = tmp_path / "key"
    secret.write_text("an-old-key")
    environ = {
        **os.environ,
        "MOE_WORKSPACE_ID": "sandbox",
        "MOE_DATA_CENTER": "01",
        "MOE_BASE_URL": f"{address}/v1",
        "MOE_API_KEY_FILE": str(secret),
        "MOE_OUTBOX": "sqlite:///outbox.db",
    }
    environ.pop("MOE_API_KEY", None)
    with (tmp_path / "log").open("wb") as log:
        relay = forks.start(
            *("-m", "moe_middleware", "relay"),
            cwd=tmp_path,
            environ=environ,
            stdout=log,
        )
    try:
        log_text = (tmp_path / "log").read_text
        wait_for(lambda: "delivering from" in log_text(), what="the relay")
        # The handler is there once the outbox is.
        wait_for((tmp_path / "outbox.db").exists, what="the outbox")
        secret.write_text("sandbox-key")
        relay.send_signal(signal.SIGHUP)
        wait_for(lambda: "api_key_changed keys=1" in log_text(), what="the key")
    finally:
        relay.send_signal(signal.SIGTERM)
    assert relay.wait(30) == 0
