"""Three gunicorn workers, a relay of its own and a Redis: one command sees them all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from ..redis_servers import RedisServer, redis_server
from ..servers import Process, browser, counted, free_port, running, sandbox_server
from ..servers import wait_for as wait

WORKERS = 3

SITE = """
from moe_middleware import MoEngageWSGIMiddleware


def site(environ, start_response):
    environ["moe_middleware.experiences"].show("homepage-banner")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


app = MoEngageWSGIMiddleware(site)
"""

CONFIG = """
workspace: {{id: sandbox, api_key: {key}}}
identity: {{customer_id: {{cookie: customer_id}}}}
routes: [{{path: /, experiences: [homepage-banner]}}]
fetch: {{timeout: 5}}
metadata: {{interval: 0}}
events: {{outbox: "{redis}", relay: off, interval: 0.1}}
"""


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Process]:
    with sandbox_server(free_port(), tmp_path) as process:
        yield process


class Status:
    """Runs the command in a folder that has the site's settings."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self._folder, self._environ = folder, environ

    def look(self) -> tuple[int, dict[str, Any]]:
        done = self._run("--json")
        return done.returncode, json.loads(done.stdout)

    def text(self) -> str:
        return self._run().stdout

    def roles(self) -> list[str]:
        processes = self.look()[1]["processes"]
        return sorted(one["role"] for one in processes if not one["silent"])

    def _run(self, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "moe_middleware", "status", *options],
            cwd=self._folder,
            env={**os.environ, **self._environ},
            capture_output=True,
            text=True,
        )


def test_all_workers_and_the_relay_are_seen(
    tmp_path: Path, sandbox: Process, redis: RedisServer
) -> None:
    for name, key in (("moe.yml", "sandbox-key"), ("wrong.yml", "revoked-key")):
        text = CONFIG.format(key=key, redis=redis.url)
        (tmp_path / name).write_text(text)
    (tmp_path / "shop.py").write_text(SITE)
    environ = {
        "MOE_CONFIG": str(tmp_path / "moe.yml"),
        "MOE_BASE_URL": f"{sandbox.url}/v1",
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])]),
    }
    status = Status(tmp_path, environ)
    port, probe = free_port(), free_port()
    gunicorn = ("-m", "gunicorn", "shop:app", "--workers", str(WORKERS))
    relay = ("-m", "moe_middleware", "relay", "--probe-port", str(probe))
    refused = {**environ, "MOE_CONFIG": str(tmp_path / "wrong.yml")}

    with running(
        *gunicorn,
        *("--bind", f"127.0.0.1:{port}"),
        port=port,
        log=tmp_path / "site.log",
        environ=environ,
    ) as site:

        def all_have_noted_themselves() -> bool:
            # A worker begins with its first page, and takes its time to be there.
            with suppress(httpx.TimeoutException):
                browser.get(site.url, headers={"cookie": "customer_id=alice"})
            return status.roles() == ["server"] * WORKERS

        wait(all_have_noted_themselves, what="all workers")
        alone = status.look()[1]

        # A relay whose key is refused: which process, why, and when it tries again.
        with running(
            *relay, port=probe, log=tmp_path / "refused.log", environ=refused
        ) as bad:
            wait(lambda: status.look()[1]["delivery_problem"], what="a refusal")
            code, problems = status.look()
            text = status.text()
            probed = browser.get(bad.url)
            bad.process.kill()
            bad.process.wait()

        # One with the right key delivers what the other could not, at once.
        with running(
            *relay, port=probe, log=tmp_path / "relay.log", environ=environ
        ) as good:
            wait(lambda: status.look()[1]["waiting"] == 0, what="the delivery")
            wait(lambda: "relay" in status.roles(), what="the relay's note")
            healthy = browser.get(good.url)

        wait(lambda: status.roles() == ["server"] * WORKERS, what="its farewell")
        os.kill(site.process.pid, signal.SIGHUP)

    assert (alone["relays"], alone["delivery_problem"]) == (0, None)
    assert code == 1
    assert problems["delivery_problem"] == "credentials refused"
    assert problems["next_try_at"] > problems["failed_at"]
    [failing] = [one for one in problems["processes"] if one["role"] == "relay"]
    assert failing["relay"]["failures"] >= 1
    assert "credentials refused" in text
    assert "next try" in text
    assert redis.url not in text or "@" not in redis.url
    # A relay that is refused is alive: a restart would not help.
    assert probed.status_code == 200
    assert probed.json()["problem"] == "credentials refused"
    assert healthy.json()["ok"] is True
    assert healthy.json()["problem"] is None
    assert counted(sandbox)
