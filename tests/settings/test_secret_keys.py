"""Log lines on a missing secret key, and on one that others may know."""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path

import pytest

from moe_middleware.cli import main
from moe_middleware.personalizer.runtime import Runtime
from moe_middleware.sandbox import Sandbox
from moe_middleware.settings.secret_keys import ENOUGH, PUBLISHED, WITHOUT, weakness

from ..cli_runner import cli_runner
from ..rows import each
from ..sites import settings

ROOT = Path(__file__).parents[2]
GOOD = "Zm9yIHRoZXNlIHRlc3RzIGFsb25lLCBvZiBjb3Vyc2U"
OTHER = "c2luY2Ugb25lIGlzIG5vdCBlbm91Z2gsIGEgc2Vjb25k"
SHORT = "0123456789abcdef"
DOCS_S = "please-take-a-secret-of-your-own"
DEMO_S = "known-to-all-the-world"
IS_SHORT = "shorter than 32 characters: take a longer one"
IS_PUBLISHED = "published with this package: take one of your own"


@each(
    ("secrets", "what"),
    [
        ([GOOD], None),
        ([GOOD, OTHER], None),
        (["x" * ENOUGH], None),
        (["x" * (ENOUGH - 1)], IS_SHORT),
        ([GOOD, SHORT], IS_SHORT),
        ([DOCS_S], IS_PUBLISHED),
        ([DEMO_S], IS_PUBLISHED),
        ([SHORT, GOOD, DOCS_S], IS_PUBLISHED),
        ([], None),
    ],
)
def test_the_worst_of_the_keys_counts(secrets: list[str], what: str | None) -> None:
    assert weakness(secrets) == what


@pytest.mark.parametrize("name", ["docs/how-to/clicks.md", "demo_app/moe.yml"])
def test_what_we_publish_is_known_to_be_published(name: str) -> None:
    text = (ROOT / name).read_text()

    defaults = re.findall(r"\$\{MOE_SECRET_KEY:-([^}]*)\}", text)

    assert defaults
    assert {*defaults} <= PUBLISHED


# --- the command -------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("", f"none: {WITHOUT}"),
        (GOOD, "1 key, hidden"),
        (f"[{GOOD}, {OTHER}]", "2 keys, hidden"),
        (SHORT, f"1 key, hidden; {IS_SHORT}"),
        (f"[{GOOD}, {DEMO_S}]", f"2 keys, hidden; {IS_PUBLISHED}"),
    ],
)
def test_check_tells_what_is_off_and_what_is_weak(
    tmp_path: Path, given: str, shown: str
) -> None:
    file = tmp_path / "moe.yml"
    secret_key = f"secret_key: {given}\n" if given else ""
    file.write_text(
        f"workspace: {{id: W1, api_key: key-of-w1}}\nroutes: []\n{secret_key}"
    )

    result = cli_runner().invoke(main, ["check", str(file)])

    assert result.exit_code == 0
    assert f"\nsecret key   {shown}\n" in result.stdout
    assert not any(key in result.output for key in (GOOD, OTHER, SHORT, DEMO_S))


# --- the start ---------------------------------------------------------------


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [
        (record.levelname, record.getMessage())
        for record in caplog.records
        if record.getMessage().startswith("secret_key")
    ]


def started(runtime: Runtime) -> None:
    async def live() -> None:
        runtime.start()
        await runtime.stop()

    asyncio.run(live())


MISSING = [("INFO", f"secret_key_missing: {WITHOUT}")]


def test_a_missing_key_is_reported_once_however_many_loops_start(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    runtime = Runtime(settings())
    assert logged(caplog) == []

    for _ in range(3):
        started(runtime)

    assert logged(caplog) == MISSING


def test_each_configuration_tells_it(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    for _ in range(2):
        started(Runtime(settings()))

    assert logged(caplog) == MISSING * 2


@pytest.mark.parametrize(
    ("secret_key", "lines"),
    [
        ([GOOD], []),
        ([GOOD, SHORT], [("WARNING", f"secret_key_weak: it is {IS_SHORT}")]),
        ([DOCS_S], [("WARNING", f"secret_key_weak: it is {IS_PUBLISHED}")]),
    ],
)
def test_a_weak_key_is_warned_about_where_the_workspace_is_real(
    caplog: pytest.LogCaptureFixture,
    secret_key: list[str],
    lines: list[tuple[str, str]],
) -> None:
    real = {
        "workspace_id": "W1",
        "api_key": "key-of-w1",
        "data_center": "02",
        # No server listens there.
        "base_url": "http://127.0.0.1:9/v1",
        "metadata": {"interval": 0},
        "fetch": {"warm_connections": 0},
    }

    started(Runtime(settings(secret_key=secret_key, **real)))

    assert logged(caplog) == lines
    assert GOOD not in caplog.text and SHORT not in caplog.text


def test_with_the_sandbox_a_weak_key_will_do(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    started(Runtime(settings(secret_key=[DEMO_S])))

    assert logged(caplog) == []
