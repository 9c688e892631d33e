"""The sandbox's command: a workspace file of one's own, and how it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from click.testing import Result

from moe_middleware.cli import main
from moe_middleware.sandbox.workspace.sample import sample_text

from ..cli_runner import cli_runner
from ..servers import browser, wait_for

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


def test_sample_overwrites_nothing(tmp_path: Path) -> None:
    path = tmp_path / "workspace.yml"

    written = run("sandbox", "--write-sample", path)
    again = run("sandbox", "--write-sample", path)
    lost = run("sandbox", "--write-sample", tmp_path / "no" / "workspace.yml")

    assert (written.exit_code, again.exit_code, lost.exit_code) == (0, 1, 1)
    assert path.read_text(encoding="utf-8") == sample_text()
    assert f"moe-middleware sandbox --workspace {path}" in written.output
    assert "is there already: name a new file" in again.stderr
    assert f"{tmp_path}/no/workspace.yml: cannot be written: " in lost.stderr


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
    for path in (tmp_path, tmp_path / "no" / "sandbox.db"):
        result = run("sandbox", "--port", 0, "--db", path)

        assert result.exit_code == 1
        assert str(result.exception).startswith(f"{path} cannot keep the events: ")


def test_server_follows_its_file_until_it_is_interrupted(tmp_path: Path) -> None:
    path = tmp_path / "workspace.yml"
    path.write_text(FILE.replace("TITLE", "First"))
    command = [sys.executable, "-m", "moe_middleware", "sandbox", "--port", "0"]
    with subprocess.Popen(
        [*command, "--workspace", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        address = next(s.split()[-1] for s in process.stdout if "base url" in s)

        def title() -> object:
            answer = browser.post(
                f"{address}/experiences/fetch",
                json={},
                headers={"MOE-APPKEY": "mine"},
                auth=("mine", "mine-key"),
            )
            payload = answer.json()["experiences"]["homepage-banner"]["payload"]
            return payload["Title"]["value"]

        assert title() == "First"
        path.write_text(FILE.replace("TITLE", "Second one"))
        wait_for(lambda: title() == "Second one", what="the second title")
        process.send_signal(signal.SIGINT)
        _, log = process.communicate(timeout=40)

    assert process.returncode == 0
    assert log == f"INFO workspace_file_read file={path}\n"
