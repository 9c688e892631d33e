"""A site and a sandbox as two real processes, and what happens when one is gone."""

from __future__ import annotations

import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

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

CONFIG = """
workspace: {id: sandbox, api_key: sandbox-key}
identity: {customer_id: {cookie: customer_id}}
routes:
  - {path: "/{page:path}", experiences: [homepage-banner]}
fetch: {timeout: "${BUDGET}"}
events:
  outbox: "sqlite:///OUTBOX"
  interval: 0.1
  shutdown_timeout: "${SHUTDOWN}"
"""


class Setup:
    """Where the two processes are and what they share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sandbox_port = free_port()
        self.outbox = folder / "outbox.db"
        (folder / "moe.yml").write_text(CONFIG.replace("OUTBOX", str(self.outbox)))

    def sandbox(self) -> AbstractContextManager[Process]:
        return sandbox_server(self.sandbox_port, self.folder)

    def site(
        self, *options: str, budget: float = 5.0, shutdown: float = 20.0
    ) -> AbstractContextManager[Process]:
        port = free_port()
        return running(
            *("-m", "uvicorn", "tests.end_to_end.site:app", "--port", str(port)),
            *options,
            port=port,
            log=self.folder / "site.log",
            environ={
                "BUDGET": str(budget),
                "SHUTDOWN": str(shutdown),
                "MOE_CONFIG": str(self.folder / "moe.yml"),
                "MOE_BASE_URL": f"http://127.0.0.1:{self.sandbox_port}/v1",
            },
        )

    def waiting(self) -> int:
        with sqlite3.connect(self.outbox) as db:
            [count] = db.execute("select count(*) from event").fetchone()
        db.close()
        return int(count)


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    yield Setup(tmp_path)


def cookie(customer_id: str) -> dict[str, str]:
    return {"cookie": f"customer_id={customer_id}"}


def visit(site: Process, customer_id: str) -> str:
    response = browser.get(site.url, headers=cookie(customer_id), timeout=PATIENCE)
    assert response.status_code == 200
    return response.text


def test_two_customers_see_two_variations_and_each_view_counts_once(
    setup: Setup,
) -> None:
    """Many views at once, and one that its visitor leaves in the middle."""
    views = [f"customer-{number % 50}" for number in range(1000)]

    with setup.sandbox() as sandbox, setup.site() as site:
        url, leaver = f"{site.url}/slow?pieces=10000", cookie("leaver")
        with browser.stream("GET", url, headers=leaver, timeout=PATIENCE) as page:
            next(page.iter_raw())
        slow = browser.get(
            f"{site.url}/slow", headers=cookie("stayer"), timeout=PATIENCE
        )
        seen = {who: visit(site, who) for who in ("alice", "bob", "alice")}
        with ThreadPoolExecutor(8) as visitors:
            pages = list(visitors.map(lambda who: visit(site, who), views))
        served = sum("Welcome" not in page for page in pages)
        wait_for(lambda: len(counted(sandbox)) >= 4 + served, what="all impressions")
        events = counted(sandbox)

    assert served == 1000, site.log()
    assert slow.status_code == 200
    assert seen["alice"] != seen["bob"]
    assert len({event["moe_event_uuid"] for event in events}) == len(events)
    assert Counter(event["customer_id"] for event in events) == Counter(
        [*views, "alice", "bob", "alice", "stayer"]
    )


def test_without_the_sandbox_pages_come_and_impressions_wait_and_arrive_once(
    setup: Setup,
) -> None:
    with setup.site() as site:
        with setup.sandbox() as sandbox:
            personal = visit(site, "alice")
            wait_for(lambda: len(counted(sandbox)) == 1, what="the first delivery")
            wait_for(lambda: setup.waiting() == 0, what="an empty outbox")

        from_cache = [visit(site, "alice") for _ in range(5)]
        unknown = visit(site, "stranger")
        wait_for(lambda: setup.waiting() == 5, what="the impressions to wait")

        with setup.sandbox() as sandbox:
            wait_for(lambda: len(counted(sandbox)) == 5, what="their arrival")
            wait_for(lambda: setup.waiting() == 0, what="an empty outbox")
            uuids = {event["moe_event_uuid"] for event in counted(sandbox)}

    assert from_cache == [personal] * 5
    assert unknown == "<h1>Welcome</h1>"
    assert len(uuids) == 5


def test_a_sandbox_that_hangs_costs_a_page_its_budget_and_no_more(
    setup: Setup,
) -> None:
    with setup.sandbox() as sandbox, setup.site(budget=0.3) as site:
        sandbox.process.send_signal(signal.SIGSTOP)
        try:
            page = visit(site, "alice")
            wait_for(
                lambda: "fetch_failed reason=timeout" in site.log(), what="a log line"
            )
        finally:
            sandbox.process.send_signal(signal.SIGCONT)

        log = site.log()

    assert page == "<h1>Welcome</h1>"
    assert "Traceback" not in log


def test_what_a_stopped_site_could_not_deliver_goes_out_at_the_next_start(
    setup: Setup,
) -> None:
    with setup.sandbox() as sandbox, setup.site(shutdown=1) as site:
        browser.post(
            f"{sandbox.url}/_sandbox/faults",
            json={"path": "events", "status": 503, "times": None},
        )
        for _ in range(3):
            visit(site, "alice")
        site.stop()
        left = setup.waiting()

    with setup.sandbox() as sandbox, setup.site():
        wait_for(lambda: len(counted(sandbox)) == 3, what="their arrival")

    assert left == 3


def test_sigterm_delivers_what_waits_without_a_lifespan_too(setup: Setup) -> None:
    with setup.sandbox() as sandbox:
        with setup.site("--lifespan", "off") as site:
            for _ in range(20):
                visit(site, "alice")
            site.stop()
        delivered = counted(sandbox)

    assert setup.waiting() == 0
    assert len(delivered) == 20
