"""What a scrape shows of pages, calls, events and the outbox."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from moe_middleware import MoEngageWSGIMiddleware, SQLiteOutbox
from moe_middleware.personalizer.open_runtimes import runtime_for
from moe_middleware.sandbox import Sandbox
from moe_middleware.telemetry.contract import Sample, Telemetry
from moe_middleware.telemetry.prometheus import (
    PrometheusObserver,
    metrics_app,
    metrics_wsgi_app,
)
from moe_middleware.telemetry.sampling import Sampler

from ..makers import event
from ..servers import Process, browser, free_port, running, wait_for
from ..sites import Site, settings
from .scrapes import Scrape

KEY = "homepage-banner"
ON = {"prometheus": True}


async def scrape(app: ASGIApp | None = None) -> Scrape:
    transport = httpx.ASGITransport(app or metrics_app())
    async with httpx.AsyncClient(transport=transport, base_url="http://ops") as client:
        response = await client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    return Scrape(response.text)


async def test_pages_are_counted_by_key_variation_source_and_reason(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    outbox = f"sqlite:///{tmp_path}/outbox.db"
    seen: list[str] = []

    async def handler(request: Request) -> Response:
        seen.append(request.state.experiences.show(KEY).variation)
        return Response()

    site = Site(
        handler,
        observability=ON,
        fetch={"tries": 1},
        events={"outbox": outbox, "relay": "off"},
    )
    before = await scrape()
    for customer in ("alice", "alice", "nobody"):
        await site.get(customer=customer)
    sandbox.fault(path="fetch", status=503, times=None)
    for number in range(6):
        await site.get(customer=f"c{number}")
    after = await scrape()
    await site.delivered()

    def grown(name: str, **labels: str) -> float:
        return after.sum(name, **labels) - before.sum(name, **labels)

    for source in ("api", "cache"):
        labels = {"source": source, "reason": "none"}
        assert grown("moe_evaluations_total", key=KEY, variation=seen[0], **labels) == 1
    assert grown("moe_evaluations_total", source="fallback", variation="none") >= 6
    assert grown("moe_call_duration_seconds_count", endpoint="fetch", outcome="ok") == 2
    assert grown("moe_call_duration_seconds_count", outcome="server_error") >= 3
    assert grown("moe_breaker_open", endpoint="fetch") == 1
    assert grown("moe_breaker_changes_total", endpoint="fetch", state="open") == 1
    assert grown("moe_events_total", what="appended") >= 2
    assert after.sum("moe_outbox_waiting", outbox=outbox) >= 2
    assert after.sum("moe_outbox_writable", outbox=outbox) == 1
    assert after.sum("moe_outbox_oldest_event_age_seconds", outbox=outbox) > 0
    assert after.sum("moe_cache_answers") >= 2
    assert after.sum("moe_cache_bytes") > 0


def observed() -> tuple[PrometheusObserver, CollectorRegistry]:
    registry = CollectorRegistry()
    return PrometheusObserver(["hero"], "memory:", registry=registry), registry


async def test_losses_are_there_before_the_first_and_the_breaker_closes() -> None:
    observer, registry = observed()
    app = metrics_app(registry)
    before = await scrape(app)
    observer.events("lost", 3)
    for state in ("open", "probing", "open"):
        observer.breaker_changed("fetch", state)
    broken = await scrape(app)
    observer.breaker_changed("fetch", "closed")

    assert {"refused", "dropped", "lost"} <= {
        labels["what"] for _, labels, _ in before.samples if "what" in labels
    }
    assert broken.sum("moe_events_total", what="lost") == 3
    assert broken.sum("moe_breaker_open") == 1
    assert (await scrape(app)).sum("moe_breaker_open") == 0


async def test_visitors_cannot_make_series() -> None:
    observer, registry = observed()
    for number in range(400):
        observer.evaluated(f"made-up-{number}", None, "api", "no_match")  # type: ignore[arg-type]
        observer.evaluated("hero", str(number), "api", None)  # type: ignore[arg-type]
        observer.evaluated(f"more-{number}", "7", "api", None)  # type: ignore[arg-type]
    found = await scrape(metrics_app(registry))

    series = [name for name, *_ in found.samples if name == "moe_evaluations_total"]
    assert len(series) < 400
    assert found.sum("moe_evaluations_total") == 1200
    assert found.sum("moe_evaluations_total", key="hero") == 400
    assert found.sum("moe_evaluations_total", key="hero", variation="7") == 1
    assert found.sum("moe_evaluations_total", key="other", variation="none") > 0
    assert found.sum("moe_evaluations_total", key="other", variation="other") > 0


def test_a_wsgi_site_is_scraped_by_a_wsgi_app(sandbox: Sandbox) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        environ["moe_middleware.experiences"].show(KEY)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]

    site = MoEngageWSGIMiddleware(app, config=settings(observability=ON))
    served = metrics_wsgi_app()

    def get(app: Any, customer: str) -> str:
        transport = httpx.WSGITransport(app=app)
        with httpx.Client(transport=transport, base_url="http://ops") as client:
            cookies = {"cookie": f"customer_id={customer}"}
            return client.get("/", headers=cookies).text

    before = Scrape(get(served, "")).sum("moe_evaluations_total")
    assert get(site, "alice") == "hello"
    assert Scrape(get(served, "")).sum("moe_evaluations_total") == before + 1


async def test_a_metrics_app_alone_has_a_lifespan() -> None:
    sent: list[str] = []

    async def receive() -> dict[str, str]:
        return {"type": "lifespan"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await metrics_app()({"type": "lifespan"}, receive, send)

    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_a_failing_outbox_hinders_no_scrape(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    outbox = f"sqlite:///{tmp_path}/missing/outbox.db"
    site = Site(observability=ON, events={"outbox": outbox, "relay": "off"})
    await site.get(customer="alice")

    found = await scrape()
    await site.delivered()

    assert found.sum("moe_outbox_writable", outbox=outbox) == 0
    assert found.sum("moe_outbox_unsaved", outbox=outbox) == 1
    assert found.sum("moe_outbox_waiting", outbox=outbox) == 0


async def test_no_label_has_a_password() -> None:
    outbox = f"redis://shop:secret@127.0.0.1:{free_port()}/0"
    runtime = runtime_for(
        settings(observability=ON, events={"outbox": outbox, "relay": "off"})
    )

    await runtime.sampler.sample()

    labels = [labels for _, labels, _ in (await scrape()).samples]
    assert any("redis://" in one.get("outbox", "") for one in labels)
    assert "secret" not in str(labels)


async def test_configurations_of_one_process_hide_nothing_of_each_other() -> None:
    registry = CollectorRegistry()
    state = {"cache_bytes": 10, "waiting": 1, "dead": 2, "oldest_age": 3.0}
    broken, fine, other = (
        PrometheusObserver([], outbox, outbox_is_own=is_own, registry=registry)
        for outbox, is_own in [("redis:", False), ("redis:", False), ("memory:", True)]
    )
    twin = PrometheusObserver([], "memory:", outbox_is_own=True, registry=registry)

    broken.sampled(Sample(cache_answers=1, cache_bytes=10, unsaved=7, writable=False))
    for one in (fine, other, twin):
        one.sampled(Sample(cache_answers=1, unsaved=0, writable=True, **state))  # type: ignore[arg-type]

    found = await scrape(metrics_app(registry))
    assert found.sum("moe_cache_answers") == 4
    assert found.sum("moe_cache_bytes") == 40
    assert found.sum("moe_outbox_writable", outbox="redis:") == 0
    assert found.sum("moe_outbox_unsaved", outbox="redis:") == 7
    assert found.sum("moe_outbox_waiting", outbox="redis:") == 1
    assert found.sum("moe_outbox_writable", outbox="memory:") == 1
    assert found.sum("moe_outbox_waiting", outbox="memory:") == 2
    assert found.sum("moe_outbox_dead", outbox="memory:") == 4
    assert found.sum("moe_outbox_oldest_event_age_seconds", outbox="memory:") == 3


async def test_a_sample_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Telemetry):
        def sampled(self, sample: Sample) -> None:
            raise RuntimeError("of alice")

    class Working(Telemetry):
        samples = 0

        def sampled(self, sample: Sample) -> None:
            self.samples += 1

    runtime = runtime_for(settings())
    working = Working()

    await Sampler(runtime.cache, runtime.outbox, [Broken(), working]).sample()

    assert working.samples == 1
    assert "sample_failed error=RuntimeError" in caplog.text
    assert "alice" not in caplog.text


# --- several processes ------------------------------------------------------------

OUTBOXES = """
import os, sys
from prometheus_client import CollectorRegistry
from moe_middleware.telemetry.contract import Sample
from moe_middleware.telemetry.prometheus import PrometheusObserver

registry = CollectorRegistry()
for is_own in map(int, sys.argv[1:]):
    name = "memory:" if is_own else "redis:"
    one = PrometheusObserver([], name, outbox_is_own=bool(is_own), registry=registry)
    one.sampled(
        Sample(
            cache_answers=1, cache_bytes=1, unsaved=1, writable=True,
            waiting=5, dead=2, oldest_age=3.0,
        )
    )
print("sampled", flush=True)
input()
"""


async def test_outboxes_of_a_process_and_of_all_are_merged_each_in_its_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", OUTBOXES, *order],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for order in ("01", "10")
    ]
    for one in workers:
        assert one.stdout is not None and one.stdout.readline() == b"sampled\n"

    found = await scrape(metrics_app(CollectorRegistry()))
    for one in workers:
        one.communicate(b"\n")

    own = [f"memory:{one.pid}" for one in workers]
    for outbox in ("redis:", *own):
        assert found.sum("moe_outbox_waiting", outbox=outbox) == 5
        assert found.sum("moe_outbox_dead", outbox=outbox) == 2
        assert found.sum("moe_outbox_oldest_event_age_seconds", outbox=outbox) == 3
    assert found.sum("moe_outbox_waiting") == 15
    assert found.sum("moe_outbox_unsaved") == 4


CONFIG = """
workspace: {{data_center: sandbox}}
identity: {{customer_id: {{cookie: customer_id}}}}
routes: [{{path: /, experiences: [homepage-banner]}}]
fetch: {{timeout: 5}}
metadata: {{interval: 0}}
observability: {{prometheus: true}}
events: {{outbox: "sqlite:///{folder}/outbox.db", relay: off}}
"""


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Process]:
    """Two uvicorn workers that count into one folder."""
    folder = tmp_path / "metrics"
    folder.mkdir()
    config = tmp_path / "moe.yml"
    config.write_text(CONFIG.format(folder=tmp_path))
    environ = {"MOE_CONFIG": str(config), "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    with running(
        *("-m", "uvicorn", "--factory", "tests.telemetry.measured_site:site"),
        *("--workers", "2", "--port", str(port := free_port())),
        port=port,
        log=tmp_path / "site.log",
        environ=environ,
    ) as process:
        yield process


def test_a_scrape_of_two_workers_has_the_counts_of_both(
    workers: Process, tmp_path: Path
) -> None:
    pages: list[str] = []

    def visit() -> bool:
        # Each has a connection of its own: either worker may take it.
        headers = {"cookie": f"customer_id=c{len(pages)}", "connection": "close"}
        page = browser.get(workers.url, headers=headers)
        assert page.status_code == 200, workers.log()
        pages.append(page.text)
        return len({*pages}) == 2

    wait_for(visit, what="both workers to serve a page")
    dead = tmp_path / "metrics" / "gauge_livesum_4194303.db"
    alive = next((tmp_path / "metrics").glob("gauge_livesum_*.db"))
    shutil.copy(alive, dead)  # as if left by a process that was killed

    def scraped() -> Scrape:
        answer = browser.get(f"{workers.url}/metrics/", headers={"connection": "close"})
        return Scrape(answer.text)

    found = scraped()
    assert found.sum("moe_evaluations_total", key=KEY) == len(pages)
    assert found.sum("moe_call_duration_seconds_count", endpoint="fetch") == len(pages)

    def is_settled() -> bool:
        # Another worker may have sampled the outbox last, up to ten seconds ago.
        one = scraped()
        appended = one.sum("moe_events_total", what="appended")
        return one.sum("moe_outbox_waiting") == appended == len(pages)

    wait_for(is_settled, what="a sample after the last event")
    assert scraped().sum("moe_breaker_open", endpoint="fetch") == 0
    assert not dead.exists()


def test_a_relay_answers_for_its_own_metrics(tmp_path: Path) -> None:
    config, port = tmp_path / "moe.yml", free_port()

    async def append() -> None:
        outbox = SQLiteOutbox(str(tmp_path / "outbox.db"))
        outbox.append([event(), event()])
        await outbox.flush()
        outbox.close()

    asyncio.run(append())
    config.write_text(CONFIG.format(folder=tmp_path))
    with running(
        *("-m", "moe_middleware", "relay", "--config", str(config)),
        *("--probe-port", str(port)),
        port=port,
        log=tmp_path / "relay.log",
    ) as relay:

        def scraped() -> Scrape:
            return Scrape(browser.get(f"{relay.url}/metrics").text)

        wait_for(
            lambda: scraped().sum("moe_events_total", what="delivered") == 2,
            what="the relay to deliver and to count it",
        )
        found = scraped()
        health = browser.get(relay.url).json()

    assert found.sum("moe_outbox_waiting") == 0
    assert found.sum("moe_call_duration_seconds_count", endpoint="events") == 1
    assert health["ok"]


# --- the files for operators ----------------------------------------------------------

FILES = Path(__file__).parents[2] / "docs" / "observability"


def expressions() -> list[str]:
    """Return every PromQL expression of the dashboard and of the alert rules."""
    board = json.loads((FILES / "grafana.json").read_text())
    rules = yaml.safe_load((FILES / "alerts.yml").read_text())
    return [
        *(target["expr"] for panel in board["panels"] for target in panel["targets"]),
        *(
            one["query"]["query"]
            for one in board["templating"]["list"]
            if "query" in one and isinstance(one["query"], dict)
        ),
        *(rule["expr"] for group in rules["groups"] for rule in group["rules"]),
    ]


async def test_every_metric_of_the_dashboard_and_the_alerts_is_there() -> None:
    observer, registry = observed()
    observer.evaluated("hero", "1", "api", None)  # type: ignore[arg-type]
    observer.called("fetch", 0.1, "ok")
    observer.breaker_changed("fetch", "open")
    observer.budget_spent(1.0)
    observer.events("delivered", 1)
    zeros = {"waiting": 0, "dead": 0, "oldest_age": 0}
    sample = Sample(cache_answers=1, cache_bytes=1, unsaved=0, writable=True, **zeros)
    observer.sampled(sample)
    there = (await scrape(metrics_app(registry))).names
    named = re.findall(r"\bmoe_\w+", " ".join(expressions()))

    assert len(named) > 15
    for name in named:
        assert name in there, name
    document = (FILES.parent / "how-to" / "observability.md").read_text()
    bare = {
        name.removesuffix("_count").removesuffix("_sum").removesuffix("_bucket")
        for name in there
        if not name.endswith("_created")
    }
    assert {name for name in bare if f"`{name}`" not in document} == set()


def test_labels_of_the_dashboard_and_the_alerts_are_there() -> None:
    labels = {"key", "variation", "source", "reason", "endpoint", "outcome", "state"}
    labels |= {"what", "outbox", "le"}
    for expression in expressions():
        grouped = re.findall(r"\bby ?\(([^)]*)\)", expression)
        matched = re.findall(r"[{,]\s*(\w+)\s*(?:=~|!~|!=|=)", expression)
        used = {one.strip() for group in grouped for one in group.split(",")}
        assert {*used, *matched} <= labels | {""}, expression


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is missing")
def test_promtool_takes_the_alert_rules() -> None:
    command = ["promtool", "check", "rules", str(FILES / "alerts.yml")]
    subprocess.run(command, check=True)
