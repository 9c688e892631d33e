"""The sandbox's command: a workspace file of one's own, and what keeps the counts."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import Result

from moe_middleware.cli import main
from moe_middleware.sandbox.workspace.file import workspace_schema
from moe_middleware.sandbox.workspace.sample import sample_text

from ..cli_runner import cli_runner
from .calls import CONTEXT

FILE = """\
id: mine
api_keys: [mine-key]
experiences:
  - key: homepage-banner
    name: Homepage banner
    audiences: [{name: All Users, variations: [{payload: {Title: TITLE}}]}]
"""


def run(*arguments: object) -> Result:
    return cli_runner().invoke(main, [str(one) for one in arguments])


def test_sample_is_written_for_the_user_to_change(tmp_path: Path) -> None:
    path = tmp_path / "workspace.yml"

    result = run("sandbox", "--write-sample", path)

    assert result.exit_code == 0
    assert path.read_text(encoding="utf-8") == sample_text()
    assert f"moe-middleware sandbox --workspace {path}" in result.output


def test_sample_overwrites_nothing(tmp_path: Path) -> None:
    path = tmp_path / "workspace.yml"
    path.write_text("mine")

    result = run("sandbox", "--write-sample", path)
    lost = run("sandbox", "--write-sample", tmp_path / "no" / "workspace.yml")

    assert (result.exit_code, lost.exit_code) == (1, 1)
    assert path.read_text() == "mine"
    assert "is there already: name a new file" in result.stderr
    assert f"{tmp_path}/no/workspace.yml: cannot be written: " in lost.stderr


def test_schema_of_the_workspace_file_is_printed() -> None:
    result = run("schema", "--workspace")

    assert json.loads(result.output) == workspace_schema()


def test_wrong_workspace_file_is_refused_with_every_mistake(tmp_path: Path) -> None:
    path = tmp_path / "workspace.yml"
    path.write_text("nmae: x\ntimezone: Nowhere/At-all\n")

    result = run("sandbox", "--port", 0, "--workspace", path)

    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        f"{path}:1: nmae: unknown key 'nmae': did you mean 'name'?",
        f"{path}:2: timezone: unknown timezone 'Nowhere/At-all': write one as in "
        "Europe/Lisbon or UTC",
    ]


def test_a_file_that_cannot_keep_the_counts_is_named(tmp_path: Path) -> None:
    text = tmp_path / "notes.db"
    text.write_text("no database, and longer than the header of one. " * 4)

    for path in (tmp_path, tmp_path / "no" / "sandbox.db", text):
        result = run("sandbox", "--port", 0, "--db", path)

        assert result.exit_code == 1
        assert str(result.exception).startswith(f"{path} cannot keep the events: ")


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve the folder's workspace.yml, counting into its sandbox.db."""
    command = [sys.executable, "-m", "moe_middleware", "sandbox", "--port", "0"]
    command += ["--workspace", "workspace.yml", "--db", "sandbox.db"]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(r"http://\S+/v1", line):
                yield found[0]
                break
    finally:
        process.terminate()
        process.communicate(timeout=40)


def call(address: str, path: str, body: Any) -> Any:
    token = base64.b64encode(b"mine:mine-key").decode()
    request = urllib.request.Request(
        f"{address}/experiences/{path}",
        json.dumps(body).encode(),
        {"Authorization": f"Basic {token}", "MOE-APPKEY": "mine"},
    )
    with urllib.request.urlopen(request, timeout=40) as response:
        return json.load(response)


def title(address: str) -> str:
    found: str = call(address, "fetch", {})["experiences"]["homepage-banner"][
        "payload"
    ]["Title"]["value"]
    return found


@pytest.mark.timeout(120)
def test_server_follows_its_file_and_keeps_its_counts(tmp_path: Path) -> None:
    path = tmp_path / "workspace.yml"
    path.write_text(FILE.replace("TITLE", "First"))
    shown = {
        "action": "MOE_PERSONALIZATION_MESSAGE_SHOWN",
        "moe_event_uuid": str(uuid4()),
        "event_time": 1_790_000_000,
        "platform": "web",
        "attributes": CONTEXT,
    }

    with served(tmp_path) as address:
        assert title(address) == "First"
        call(
            address, "events", {"elements": [{"customer_id": "a", "actions": [shown]}]}
        )
        path.write_text(FILE.replace("TITLE", "Second one"))
        deadline = time.monotonic() + 60
        while title(address) == "First":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert title(address) == "Second one"
        assert "INFO workspace_file_read" in (tmp_path / "log").read_text()

    with served(tmp_path) as address:
        root = address.removesuffix("/v1")
        with urllib.request.urlopen(f"{root}/_sandbox/events", timeout=40) as response:
            (event,) = json.load(response)["events"]
        assert event["moe_event_uuid"] == shown["moe_event_uuid"]
