from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from moe_middleware import Event, SQLiteOutbox
from moe_middleware.cli.relay import relay
from moe_middleware.outbox import Counts
from moe_middleware.sandbox import Sandbox

from .. import forks
from ..cli_runner import cli_runner
from ..makers import event
from ..servers import Process, browser, counted, free_port, sandbox_server, wait_for

PATIENT = 50.0
"""Seconds: a process of its own takes its time to begin on a busy machine."""


class Setup:
    """An outbox's file, a sandbox that events go to, and relays in between."""

    def __init__(self, folder: Path, server: Process) -> None:
        self.server = server
        self.path = folder / "outbox.db"
        self.folder = folder
        self.began: list[forks.Program] = []

    def append(self, events: Sequence[Event]) -> None:
        async def append(outbox: SQLiteOutbox) -> None:
            outbox.append(events)
            await outbox.flush()

        self._through(append)

    def count(self) -> Counts:
        async def count(outbox: SQLiteOutbox) -> Counts:
            return await outbox.count()

        counts: Counts = self._through(count)
        return counts

    def claimable(self) -> int:
        async def claim(outbox: SQLiteOutbox) -> int:
            return len(await outbox.claim(limit=10_000, lease_for=0.0))

        found: int = self._through(claim)
        return found

    def _through(self, work: Any) -> Any:
        outbox = SQLiteOutbox(str(self.path))
        try:
            return asyncio.run(work(outbox))
        finally:
            outbox.close()

    def begin(self, *options: str) -> forks.Program:
        """Run the command as a process of its own."""
        with (self.folder / f"relay-{len(self.began)}.log").open("wb") as log:
            process = forks.start(
                *("-m", "moe_middleware", "relay", *options),
                stdout=log,
                cwd=self.folder,
                environ={
                    **os.environ,
                    "MOE_DATA_CENTER": "sandbox",
                    "MOE_BASE_URL": f"{self.server.url}/v1",
                },
            )
        self.began.append(process)
        return process

    def output(self, relay: int = 0) -> str:
        return (self.folder / f"relay-{relay}.log").read_text()

    def moe_yml(self, events: str) -> None:
        (self.folder / "moe.yml").write_text(
            f"routes: []\nevents: {{outbox: 'sqlite:///{self.path}', {events}}}\n"
        )

    def order_fault(self, **fault: Any) -> None:
        url = f"{self.server.url}/_sandbox/faults"
        assert browser.post(url, json=fault).status_code == 200

    def faults(self) -> list[object]:
        """The faults that have calls to hit yet."""
        answer = browser.get(f"{self.server.url}/_sandbox/faults").json()
        return list(answer["faults"])

    def stored(self) -> list[str]:
        """The uuids that have arrived."""
        return [str(one["moe_event_uuid"]) for one in counted(self.server)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("sandbox")
    with sandbox_server(free_port(), folder) as process:
        yield process


@pytest.fixture
def setup(tmp_path: Path, server: Process) -> Iterator[Setup]:
    browser.post(f"{server.url}/_sandbox/reset")
    setup = Setup(tmp_path, server)
    setup.moe_yml("interval: 0.05")
    yield setup
    for process in setup.began:
        process.kill()
        process.wait()


def users(count: int, events: int) -> list[Event]:
    return [event(f"user-{number % count}") for number in range(events)]


def test_it_delivers_until_nothing_waits(setup: Setup) -> None:
    events = users(300, 700)
    setup.append(events)
    setup.order_fault(path="events", status=503, times=4)
    setup.order_fault(path="events", lose_response=True, times=2)

    exit_code = setup.begin("--until-empty").wait(PATIENT)

    assert exit_code == 0, setup.output()
    assert sorted(setup.stored()) == sorted(one.uuid for one in events)
    assert setup.count().waiting == 0
    first, *_, last = setup.output().splitlines()
    assert first == f"delivering from sqlite:///{setup.path} to {setup.server.url}/v1"
    assert last.startswith("delivered=700 ")
    assert " buried=0 " in last


def test_it_delivers_what_comes_until_it_is_stopped(setup: Setup) -> None:
    setup.append(users(10, 10))

    process = setup.begin("--status-every", "0.1")
    wait_for(lambda: len(setup.stored()) == 10, what="the first events")
    setup.append(users(10, 10))
    wait_for(lambda: len(setup.stored()) == 20, what="the later events")
    wait_for(lambda: "delivered=20" in setup.output(), what="a status line")
    process.send_signal(signal.SIGINT)

    assert process.wait(PATIENT) == 0
    assert "Traceback" not in setup.output()


@pytest.mark.parametrize(
    ("latency", "shutdown_timeout", "delivered"), [(60, 0.2, 0), (1, 20.0, 250)]
)
def test_sigterm_waits_for_reports_under_way_and_gives_them_back_in_time(
    setup: Setup, latency: float, shutdown_timeout: float, delivered: int
) -> None:
    setup.append(users(250, 250))
    setup.moe_yml(f"shutdown_timeout: {shutdown_timeout}")
    setup.order_fault(path="events", latency=latency, times=3)

    process = setup.begin("--status-every", "0.1")
    wait_for(lambda: "delivered=" in setup.output(), what="a status line")
    wait_for(lambda: not setup.faults(), what="three reports under way")
    process.terminate()

    assert process.wait(PATIENT) == 0
    assert setup.claimable() == 250 - delivered
    assert len(setup.stored()) == delivered
    assert "Traceback" not in setup.output()


# --- in this process -------------------------------------------------------


def run(*arguments: str, **environ: str) -> Result:
    return cli_runner().invoke(relay, arguments, env=environ, catch_exceptions=False)


def test_it_needs_no_file_and_takes_an_outbox(folder: Path, sandbox: Sandbox) -> None:
    outbox = SQLiteOutbox("other.db")
    outbox.append(users(5, 5))
    outbox.close()

    address = "sqlite:///other.db"
    result = run("--once", "--outbox", address, MOE_DATA_CENTER="sandbox")

    assert result.exit_code == 0, result.output
    assert "delivering from sqlite:///other.db to the embedded sandbox" in result.output
    assert "warning: this sandbox is embedded" in result.output
    assert "delivered=5 " in result.output
    assert len(sandbox.store.events()) == 5


def test_once_fails_where_it_could_not_deliver(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = SQLiteOutbox("other.db")
    outbox.append(users(10, 10))
    outbox.close()
    away = {
        "MOE_DATA_CENTER": "sandbox",
        "MOE_BASE_URL": f"http://127.0.0.1:{free_port()}/v1",
    }

    result = run("--once", "--outbox", "sqlite:///other.db", **away)

    assert result.exit_code == 1
    assert "report_failed events=10" in caplog.text
    assert result.output.splitlines()[-1].endswith(" failures=1")


def test_once_says_what_is_wrong_with_the_outbox(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = "sqlite:///no/such/outbox.db"

    result = run("--once", "--outbox", nowhere, MOE_DATA_CENTER="sandbox")

    assert result.exit_code == 1
    assert "no/such: " in caplog.text


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--outbox", "memory:"], 1, "memory: is each process's own"),
        (["--outbox", "mysql://db"], 1, "is no place to keep things"),
        (["--config", "missing.yml"], 1, "missing.yml"),
        (["--once", "--until-empty"], 2, "not both"),
        (["--status-every", "0"], 2, "--status-every"),
    ],
)
def test_mistakes_are_reported(
    folder: Path, arguments: list[str], code: int, message: str
) -> None:
    result = run(*arguments, MOE_DATA_CENTER="sandbox")

    assert result.exit_code == code
    assert message in result.stderr


def test_no_password_is_shown() -> None:
    outbox = "redis://:sekret-5f0c@127.0.0.1:9/0"
    printed = run("--once", "--outbox", outbox, MOE_DATA_CENTER="sandbox").output

    begins = "delivering from redis://127.0.0.1:9/0 to the embedded sandbox\n"
    assert printed.startswith(begins)
    assert "sekret" not in printed
