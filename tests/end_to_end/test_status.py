"""Two gunicorn workers, a relay of its own and a Redis: one command sees them all."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import Result

from moe_middleware.cli import main

from .. import forks
from ..cli_runner import cli_runner
from ..redis_servers import redis_server
from ..servers import (
    PATIENCE,
    Process,
    browser,
    counted,
    free_port,
    running,
    sandbox_server,
    wait_for,
)

WORKERS = 2

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


def wait(condition: Callable[[], object], *, what: str) -> None:
    """Wait; asking takes more than a moment, as each of these looks is a command."""
    wait_for(condition, what=what, every=0.3)


class Status:
    """Runs the command with the site's settings."""

    def __init__(self, environ: dict[str, str]) -> None:
        self._environ = environ

    def look(self) -> tuple[int, dict[str, Any]]:
        done = self.run("--json")
        return done.exit_code, json.loads(done.stdout)

    def roles(self) -> list[str]:
        processes = self.look()[1]["processes"]
        return sorted(one["role"] for one in processes if not one["silent"])

    def processes(self) -> set[str]:
        return {one["process"] for one in self.look()[1]["processes"]}

    def run(self, *options: str) -> Result:
        return cli_runner().invoke(main, ["status", *options], env=self._environ)


def test_looking_says_nothing_on_stderr(tmp_path: Path) -> None:
    """A Redis that may lose all is reported by those who write into it."""
    with redis_server(tmp_path, aof=False) as server:
        text = CONFIG.format(key="sandbox-key", redis=server.url)
        (tmp_path / "moe.yml").write_text(text)
        done = forks.run("-m", "moe_middleware", "status", cwd=tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_all_workers_and_the_relay_are_seen_and_their_counts_outlive_them(
    tmp_path: Path,
) -> None:
    with (
        redis_server(tmp_path) as redis,
        sandbox_server(free_port(), tmp_path) as sandbox,
    ):
        for name, key in (("moe.yml", "sandbox-key"), ("wrong.yml", "revoked-key")):
            text = CONFIG.format(key=key, redis=redis.url)
            (tmp_path / name).write_text(text)
        watch_a_shop(tmp_path, sandbox)


def watch_a_shop(tmp_path: Path, sandbox: Process) -> None:
    (tmp_path / "shop.py").write_text(SITE)
    environ = {
        "MOE_CONFIG": str(tmp_path / "moe.yml"),
        "MOE_BASE_URL": f"{sandbox.url}/v1",
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])]),
    }
    status, visits = Status(environ), 0
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
        measured=False,
    ) as site:

        def visit() -> None:
            # A worker begins with its first page, and takes its time to be there.
            nonlocal visits
            cookie = {"cookie": "customer_id=alice"}
            browser.get(site.url, headers=cookie, timeout=PATIENCE)
            visits += 1

        def all_have_noted_themselves() -> bool:
            visit()
            return status.roles() == ["server"] * WORKERS

        wait(all_have_noted_themselves, what="all workers")
        alone = status.look()[1]

        # A relay whose key is refused: which process, why, and when it tries again.
        with running(
            *relay,
            port=probe,
            log=tmp_path / "refused.log",
            environ=refused,
            measured=False,
        ) as bad:
            wait(lambda: status.look()[1]["delivery_problem"], what="a refusal")
            code, problems = status.look()
            text = status.run().stdout
            probed = browser.get(bad.url)

        # One with the right key delivers what the other could not, at once.
        with running(
            *relay,
            port=probe,
            log=tmp_path / "relay.log",
            environ=environ,
            measured=False,
        ) as good:
            wait(lambda: status.look()[1]["waiting"] == 0, what="the delivery")
            wait(lambda: "relay" in status.roles(), what="the relay's note")
            healthy = browser.get(good.url)
        wait(lambda: status.roles() == ["server"] * WORKERS, what="its farewell")

        # A reload: the old workers end, and others count from nothing.
        before = status.processes()
        os.kill(site.process.pid, signal.SIGHUP)

        def is_reloaded() -> bool:
            visit()
            return bool(now := status.processes()) and not now & before

        wait(is_reloaded, what="the new workers")
    wait(lambda: not status.processes(), what="the workers' farewell")
    found = status.look()[1]
    last = status.run().stdout.splitlines()[-1]

    assert (alone["relays"], alone["delivery_problem"]) == (0, None)
    assert code == 1
    assert problems["delivery_problem"] == "credentials refused"
    assert problems["next_try_at"] > problems["failed_at"]
    [failing] = [one for one in problems["processes"] if one["role"] == "relay"]
    assert failing["relay"]["failures"] >= 1
    assert "credentials refused" in text
    assert "next try" in text
    # A relay that is refused is alive: a restart would not help.
    assert probed.status_code == 200
    assert probed.json()["problem"] == "credentials refused"
    assert healthy.json()["ok"] is True
    assert healthy.json()["problem"] is None
    assert counted(sandbox)
    counters = found["totals"]["counters"].items()
    answers = [count for name, count in counters if name.startswith("answers.")]
    assert sum(answers) == visits
    assert found["totals"]["started_at"] < time.time() - 1
    assert f" {visits} " in last
