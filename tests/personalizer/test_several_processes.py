"""The log line of several server processes with a sandbox in each."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..servers import wait_for

SERVER = """
import sys
from moe_middleware import Settings
from moe_middleware.personalizer.runtimes import runtime_for

settings = Settings(
    data_center="sandbox", routes=[],
    events={"outbox": "sqlite:///" + sys.argv[1], "relay": "off"}, **eval(sys.argv[2])
)
runtime_for(settings).start_in_background()
sys.stdin.read()
"""
LINE = "sandbox_in_each_process processes="


@contextmanager
def server(folder: Path, name: str, **workspace: str) -> Iterator[Path]:
    """Run a server process until the block ends; return the file of its log."""
    log = folder / name
    command = [sys.executable, "-c", SERVER, str(folder / "out.db"), repr(workspace)]
    with (
        log.open("wb") as stderr,
        subprocess.Popen(command, stdin=subprocess.PIPE, stderr=stderr) as process,
    ):
        yield log
        assert process.stdin is not None
        process.stdin.close()


def has_noted(folder: Path, count: int) -> bool:
    """Whether so many servers are listed as running."""
    status = [sys.executable, "-m", "moe_middleware", "status", "--json"]
    ran = subprocess.run(
        status,
        env={"MOE_DATA_CENTER": "sandbox", "MOE_OUTBOX": f"sqlite:///{folder}/out.db"},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    return ran.stdout.count('"role": "server"') == count


def test_several_sandboxes_are_logged_once_and_one_is_not(tmp_path: Path) -> None:
    with server(tmp_path, "first.log") as first:
        wait_for(lambda: has_noted(tmp_path, 1), what="the first server")
        with server(tmp_path, "second.log") as second:
            wait_for(lambda: LINE in second.read_text(), what="the line")
    with server(tmp_path, "third.log") as third:
        wait_for(lambda: has_noted(tmp_path, 1), what="the third server")

    assert second.read_text().count(f"{LINE}2: ") == 1
    assert LINE not in third.read_text()
    assert first.read_text().count(LINE) <= 1


def test_servers_that_share_a_sandbox_are_not(tmp_path: Path) -> None:
    shared = {"base_url": "http://127.0.0.1:9/v1"}
    with (
        server(tmp_path, "first.log", **shared) as first,
        server(tmp_path, "second.log", **shared) as second,
    ):
        wait_for(lambda: has_noted(tmp_path, 2), what="both servers")

    assert LINE not in first.read_text() + second.read_text()
