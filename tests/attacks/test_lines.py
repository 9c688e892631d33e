"""Log lines and terminals: no text of others begins a line or moves the cursor."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from moe_middleware.cli import main
from moe_middleware.models.experience import ExperienceMetadata
from moe_middleware.outbox import open_outbox
from moe_middleware.personalizer.catalogue import Catalogue
from moe_middleware.sandbox import Sandbox

from ..cli_runner import cli_runner
from ..makers import event
from ..sites import settings
from .conftest import MakeShop
from .doors import page_of
from .hostile import TEXTS, HostileAPI, context_of, hostile_api

UNPRINTABLE = [text for text in TEXTS if not text.isprintable()]
PAGE = """{% experience "homepage-banner" as one %}{{ one.click_url(text, text) }}
{{ one.click_url("//evil.example", text) }}{{ one.attrs(text) }}{% endexperience %}
{% experience text %}{% endexperience %}{{ moe_script(text) }}
{{ moe_web_sdk(text, api=text) }}"""


def check_lines(caplog: pytest.LogCaptureFixture, *, some: bool = True) -> None:
    """Check that each record is one line, and safe to look at."""
    lines = [record.getMessage() for record in caplog.records]
    lines = [line for line in lines if "_" in line.partition(" ")[0]]
    assert lines or not some
    for line in lines:
        assert line.isprintable(), line


@pytest.mark.parametrize("text", UNPRINTABLE, ids=ascii)
def test_no_text_of_a_page_or_a_request_begins_a_log_line(
    make_shop: MakeShop, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    caplog.set_level(logging.DEBUG, logger="moe_middleware")
    shop = make_shop(page_of(PAGE, text=text), log_ids="sha256")
    sent = text.encode("latin-1", "replace").decode("latin-1")
    cookie = f"customer_id=alice; moe_preview={sent}"

    shop.ask(cookie=cookie, headers=[("user-agent", sent), ("referer", sent)])
    shop.ask(cookie=f"customer_id={sent}", headers=[("user-agent", sent)])
    shop.ask(f"/_moe/c/{text}", customer="alice")
    shop.ask(f"/_moe/p/{text}", customer="alice")
    shop.tell(text.encode("utf-8", "replace"), customer="alice")
    shop.tell(b"x", origin=[("origin", sent), ("sec-fetch-site", sent)])

    check_lines(caplog)


@pytest.mark.parametrize("text", UNPRINTABLE, ids=ascii)
async def test_no_text_of_the_api_begins_a_log_line(
    caplog: pytest.LogCaptureFixture, text: str
) -> None:
    caplog.set_level(logging.DEBUG, logger="moe_middleware")

    async def metadata(statuses: object) -> list[ExperienceMetadata]:
        return [
            ExperienceMetadata(key=key, name=text, status=status)
            for key, status in (("paused", text), ("active", "Active"), (text, text))
            if not statuses or status == "Active"
        ]

    looking = Catalogue(["paused", "unknown", f"{text}x"], metadata, interval=300)
    await looking.look()
    await asyncio.sleep(0)
    await looking.stop()

    check_lines(caplog)
    assert "experience_not_active key=paused" in caplog.text


# --- terminals -----------------------------------------------------------------


@pytest.fixture(scope="module")
def api() -> Iterator[HostileAPI]:
    with hostile_api() as serving:
        yield serving


def check_screen(output: str) -> None:
    """Check that a terminal shows what was put out, and does nothing else."""
    for line in output.split("\n"):
        assert line.isprintable(), ascii(line)
    assert not re.search(r"^\d{4}-\d\d-\d\d CRITICAL", output, re.MULTILINE)


@pytest.fixture(autouse=True)
def environment(
    api: HostileAPI, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOE_DATA_CENTER", "sandbox")
    monkeypatch.setenv("MOE_BASE_URL", api.url)
    monkeypatch.setenv("MOE_SECRET_KEY", "a secret key of the attacks")


@pytest.mark.parametrize("status", [200, 400, 401, 429, 500])
def test_no_answer_of_the_api_moves_the_cursor(api: HostileAPI, status: int) -> None:
    for text in UNPRINTABLE:
        api.says, api.status = text, status
        try:
            ran = cli_runner().invoke(main, ["fetch", "--customer", "alice"])
            as_json = cli_runner().invoke(main, ["fetch", "--customer", "a", "--json"])
        finally:
            api.status = 200

        check_screen(ran.output)
        check_screen(as_json.output)
        assert (ran.exit_code == 0) == (status == 200)


@pytest.mark.parametrize("text", UNPRINTABLE, ids=ascii)
def test_no_waiting_event_moves_the_cursor(tmp_path: Path, text: str) -> None:
    url = f"sqlite:///{tmp_path}/outbox.db"
    outbox = open_outbox(
        settings(events={"outbox": url}).events, workspace_id="sandbox"
    )
    outbox.append(
        [event(text, b_id=text, experience_context=context_of(text), platform="web")]
    )
    outbox.close(timeout=10)

    for arguments in (
        ["list"],
        ["list", "--reveal"],
        ["show", "1", "--reveal"],
        ["status"],
        ["list", "--json", "--reveal"],
        ["show", text],
    ):
        shown = cli_runner().invoke(main, ["outbox", *arguments, "--outbox", url])
        check_screen(shown.output)
        assert shown.exit_code == (arguments == ["show", text])


@pytest.mark.parametrize("text", UNPRINTABLE, ids=ascii)
def test_no_argument_moves_the_cursor(
    sandbox: Sandbox, tmp_path: Path, text: str
) -> None:
    payload = tmp_path / "payload.json"
    payload.write_text('{"Title": "x"}')
    for arguments in (
        ["preview", text, "--variation", "B", "--payload", str(payload)],
        ["preview", "hero", "--variation", text, "--payload", str(payload)],
        ["preview", text, "--variation", "B"],
        ["preview", "homepage-banner", "--variation", text],
    ):
        ran = cli_runner().invoke(main, arguments)
        assert ran.exit_code == 1
        check_screen(ran.output)
