"""The tasks of docs/how-to/celery.md in real Celery workers: ended, and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from celery import Celery  # type: ignore[import-untyped]

from .. import forks
from ..documents import Document
from ..redis_servers import RedisServer, redis_server
from ..servers import PATIENCE, Process, counted, free_port, sandbox_server, wait_for

BLOCKS = Document("docs/how-to/celery.md").blocks

TROUBLE = """
import os, signal
import redis
import tasks
from tasks import app

broker = redis.Redis.from_url(os.environ["CELERY_BROKER_URL"])

@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def greet(self, customer_id, dies=False):
    tasks.greet.run.__func__(self, customer_id)  # as this task
    # After append has returned, before anything else can happen.
    if dies and broker.set(f"died {customer_id}", 1, nx=True):
        os.kill(os.getpid(), signal.SIGKILL)
    broker.rpush("done", customer_id)
"""
WORKSPACE = """
experiences:
  - key: homepage-banner
    name: Homepage banner
    audiences: [{name: All Users, variations: [{payload: {Title: Hello}}]}]
"""


class Shop:
    """A broker, a sandbox, and a folder with the page's tasks."""

    def __init__(self, folder: Path, broker: RedisServer, sandbox: Process) -> None:
        self.folder = folder
        self.sandbox = sandbox
        self.redis = redis.Redis.from_url(broker.url)
        self.producer = Celery(broker=broker.url)
        self.environ = {
            **os.environ,
            "CELERY_BROKER_URL": broker.url,
            "MOE_BASE_URL": f"{sandbox.url}/v1",
            "PYTHONPATH": str(folder),
        }

    def send(self, customer: str, *, dies: bool = False) -> None:
        """Send a task, as a producer does."""
        self.producer.send_task("trouble.greet", [customer], {"dies": dies})

    @contextmanager
    def worker(self, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a worker, in a process group of its own."""
        command = [sys.executable, "-m", "celery", "-A", "trouble", "worker"]
        with (self.folder / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                [*command, "--loglevel", "warning", "--without-gossip", *options],
                cwd=self.folder,
                env=self.environ,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(PATIENCE)

    def done(self) -> list[str]:
        """Return the customers of the tasks that have come to their end."""
        return [one.decode() for one in self.redis.lrange("done", 0, -1)]  # type: ignore[union-attr]

    def relay(self) -> None:
        words = ("-m", "moe_middleware", "relay", "--once")
        forks.run(*words, cwd=self.folder, environ=self.environ).check_returncode()

    def customers(self) -> list[str]:
        return sorted(str(event["customer_id"]) for event in counted(self.sandbox))


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    for block in BLOCKS:
        if block.file is not None:
            (tmp_path / block.file).write_text(block.text)
    (tmp_path / "trouble.py").write_text(TROUBLE)
    port, file = free_port(), tmp_path / "workspace.yml"
    file.write_text(WORKSPACE)
    with (
        redis_server(tmp_path) as broker,
        sandbox_server(port, tmp_path, "--workspace", str(file)) as sandbox,
    ):
        shop = Shop(tmp_path, broker, sandbox)
        yield shop
        shop.producer.close()
        shop.redis.close()


def test_every_task_counts_once_however_its_child_ends(shop: Shop) -> None:
    customers, deaths = [f"u{number}" for number in range(20)], {"u3", "u11"}
    options = ["--pool", "prefork", "-c", "2", "--max-tasks-per-child", "3"]
    with shop.worker(*options) as worker:
        for customer in customers:
            shop.send(customer, dies=customer in deaths)
        wait_for(lambda: len(shop.done()) >= 20, what="20 tasks to end")
        worker.terminate()  # a warm shutdown
        worker.wait(PATIENCE)

    shop.relay()

    assert {*shop.done()} == {*customers}
    assert all(shop.redis.get(f"died {one}") for one in deaths)
    assert shop.customers() == sorted(customers)
