"""What would come with every page is logged at once, and then counted."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from moe_middleware import JSONFormatter
from moe_middleware.logs.repeated_lines import MOST, RepeatLogger
from moe_middleware.sandbox import Sandbox

from ..sites import Site

LOGGER = logging.getLogger("moe_middleware.tests.repeats")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(caplog: pytest.LogCaptureFixture) -> Iterator[Clock]:
    caplog.set_level(logging.INFO)
    yield Clock()


def test_the_first_is_logged_and_the_others_are_counted(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    lines = RepeatLogger(LOGGER, clock=clock)
    for _ in range(540):
        lines.log(20, "answered reason=%s keys=%d", "timeout", 1, who=" visitor=x")
    clock.now = 10
    lines.flush()
    for _ in range(3):
        lines.log(20, "answered reason=%s keys=%d", "timeout", 1, who=" visitor=y")
    clock.now = 20
    lines.flush()
    clock.now = 30
    lines.flush()
    lines.log(20, "answered reason=%s keys=%d", "timeout", 1)

    assert caplog.messages == [
        "answered reason=timeout keys=1 visitor=x",
        "answered again=539 seconds=10 reason=timeout keys=1",
        "answered again=3 seconds=10 reason=timeout keys=1",
        "answered reason=timeout keys=1",
    ]


def test_other_outcomes_are_other_lines(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    lines = RepeatLogger(LOGGER, clock=clock)
    for keys in (1, 2, 1, 2):
        lines.log(20, "answered keys=%d", keys)
        lines.log(20, "failed keys=%d", keys, outcome="one")

    assert caplog.messages == ["answered keys=1", "failed keys=1", "answered keys=2"]


def test_a_count_comes_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    lines = RepeatLogger(LOGGER, every=0.05)
    deadline = time.monotonic() + 20

    while not any(" again=" in one for one in caplog.messages):
        assert time.monotonic() < deadline
        lines.log(20, "answered")
        threading.Event().wait(0.001)

    counts = [one for one in caplog.messages if one != "answered"]
    assert re.fullmatch(r"answered again=\d+ seconds=\d+", counts[0])


def test_of_too_many_outcomes_the_oldest_is_forgotten(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    lines = RepeatLogger(LOGGER, clock=clock)
    for number in (*range(MOST + 1), 0):
        lines.log(20, "answered number=%d", number)

    assert caplog.messages.count("answered number=0") == 2


def test_threads_lose_no_count(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    lines = RepeatLogger(LOGGER, clock=clock)

    def work() -> None:
        for _ in range(1_000):
            lines.log(20, "answered")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    clock.now = 10
    lines.flush()

    assert caplog.messages == ["answered", "answered again=7999 seconds=10"]


PROGRAM = """
import logging, os, sys
from moe_middleware.logs.repeated_lines import MOST, RepeatLogger
logging.basicConfig(level=20, format="%(message)s", stream=sys.stdout)
lines = RepeatLogger(logging.getLogger("moe_middleware"))
for _ in range(5):
    lines.log(20, "answered")
if hasattr(os, "fork"):
    sys.stdout.flush()
    if os.fork() == 0:
        lines.log(20, "answered child=1")
        sys.exit()
    os.wait()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_process_that_ends_says_what_it_counted_and_its_child_does_not() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )

    assert ran.stdout.splitlines() == [
        "answered",
        "answered child=1",
        "answered again=4 seconds=10",
    ]


# --- pages ----------------------------------------------------------------------------


def lines_of(caplog: pytest.LogCaptureFixture, event: str) -> list[str]:
    return [line for line in caplog.messages if line.split()[0] == event]


def logged_at_once(caplog: pytest.LogCaptureFixture, event: str) -> list[str]:
    """Return the lines that are no counts: these come by the clock, of any site."""
    return [line for line in lines_of(caplog, event) if " again=" not in line]


@pytest.mark.parametrize(
    ("fault", "reason", "advice"),
    [
        ({"status": 401}, "unauthorized", "the Personalize tile's"),
        ({"status": 503}, "server_error", "status=503"),
        ({"status": 404}, "server_error", "answers 404: is it the API's address?"),
        ({"garbage": True}, "bad_answer", "check base_url"),
        ({"drop": True}, "unreachable", "cannot be reached"),
    ],
)
async def test_a_hundred_pages_of_an_outage_are_two_lines(
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
    fault: dict[str, Any],
    reason: str,
    advice: str,
) -> None:
    caplog.set_level(logging.INFO)
    sandbox.fault("fetch", times=None, **fault)
    site = Site(fetch={"tries": 1})

    for number in range(30):
        await site.get(customer=f"customer-{number}")

    [failed] = logged_at_once(caplog, "fetch_failed")
    assert f"reason={reason}" in failed and advice in failed
    answered = logged_at_once(caplog, "answered")
    assert 1 <= len(answered) <= 2  # its own reason, and breaker_open
    assert "customer-" not in caplog.text


async def test_what_was_counted_is_logged_when_a_site_stops(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    sandbox.fault("fetch", times=None, status=401)
    site = Site(fetch={"tries": 1})
    for number in range(30):
        await site.get(customer=f"customer-{number}")

    # uvicorn ends by the signal that it was sent: no atexit function runs.
    await site.runtime.stop()

    counts = [line for line in caplog.messages if line.startswith("answered again=")]
    assert any("reason=unauthorized" in line for line in counts)


@pytest.mark.parametrize(
    ("base_url", "advice"),
    [
        ("http://127.0.0.1:9/v1", "is 'moe-middleware sandbox' running?"),
        ("http://sdk.invalid/v1", "check data_center, base_url and network"),
    ],
)
async def test_an_address_without_an_answer_is_named(
    base_url: str, advice: str, caplog: pytest.LogCaptureFixture
) -> None:
    # A name server may take its time to say that there is no such name.
    site = Site(
        workspace={"id": "W", "api_key": "k", "base_url": base_url},
        fetch={"timeout": 30},
    )

    await site.get(customer="alice")

    (line,) = lines_of(caplog, "fetch_failed")
    assert base_url in line
    assert line.endswith(advice)


async def test_a_base_url_without_v1_says_so(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    workspace = {"id": "sandbox", "api_key": "sandbox-key", "base_url": address}
    site = Site(workspace=workspace, fetch={"timeout": 5})

    await site.get(customer="alice")

    (line,) = lines_of(caplog, "fetch_failed")
    assert "status=405" in line or "status=404" in line
    assert line.endswith("write base_url with its /v1 at the end")


async def test_a_key_of_another_route_says_which(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(request: Request) -> Response:
        for _ in range(3):
            for key in ("price-badge", "promo-stripe", "qqq"):
                advice = request.state.experiences.advice_on(key, "home.html:3")
                if advice:
                    logged.append(advice)
        return Response()

    logged: list[str] = []
    site = Site(
        handler,
        routes=[
            {"path": "/", "experiences": ["promo-strip"]},
            {"path": "/products/{sku}", "experiences": ["price-badge"]},
        ],
    )
    await site.get()
    await site.get()

    assert logged == [
        "name it in a route of moe.yml that matches this page; it is in that of "
        "/products/{sku}, or fetch it before: await experiences.fetch('price-badge')",
        "did you mean 'promo-strip'? If not, name it in a route of moe.yml, or fetch "
        "it before: await experiences.fetch('promo-stripe')",
        "name it in a route of moe.yml, or fetch it before: await "
        "experiences.fetch('qqq')",
    ]


# --- JSON -----------------------------------------------------------------------------


def as_json(
    message: str, *args: object, name: str = "moe_middleware.x"
) -> dict[str, Any]:
    record = logging.LogRecord(name, 30, __file__, 1, message, args, None)
    line = JSONFormatter().format(record)
    assert "\n" not in line
    found: dict[str, object] = json.loads(line)
    return found


def test_a_line_is_an_object() -> None:
    found = as_json("fetch_failed reason=%s keys=%d share=1/%d: %s", "x\ny", 2, 4, "do")

    assert found.pop("time").endswith("+00:00")
    assert found == {
        "level": "warning",
        "logger": "moe_middleware.x",
        "message": "fetch_failed reason=x\ny keys=2 share=1/4: do",
        "event": "fetch_failed",
        "reason": "x\ny",
        "keys": 2,
        "share": "1/4",
    }


@pytest.mark.parametrize("message", ["100 %", "a=%s b=1", "{", ""])
def test_other_lines_are_objects_too(message: str) -> None:
    assert as_json(message, name="uvicorn")["message"] == message


def test_an_exception_is_a_part_of_it() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        record = logging.LogRecord("x", 40, __file__, 1, "failed", (), sys.exc_info())

    assert (
        "ValueError: broken" in json.loads(JSONFormatter().format(record))["exception"]
    )


def test_the_documented_setup_works(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "reference" / "logs.md").read_text(
        "utf-8"
    )
    blocks = [part.split("```")[0] for part in text.split("```python\n")[1:]]
    assert len(blocks) == 2
    for block in blocks:
        program = (
            f"{block}\nlogging.getLogger('moe_middleware.x').info('event a=%d', 1)"
        )
        ran = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        assert "event a=1" in ran.stderr
    assert json.loads(ran.stderr)["a"] == 1
