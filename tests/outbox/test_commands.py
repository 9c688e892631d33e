"""The commands, run over real files as people and scripts run them."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import Result

from moe_middleware import Event
from moe_middleware.cli.outbox import outbox as outbox_commands
from moe_middleware.outbox import SQLiteOutbox

from ..cli_runner import cli_runner
from ..makers import event

SECRETS = ("alice-7", "bob-7", "u_em", "00000000-0000-4000-8000", "Homepage banner")
PATIENCE = 60.0


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    for name in ("MOE_CONFIG", "MOE_WORKSPACE_ID", "MOE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path


@pytest.fixture
def kept(folder: Path) -> SQLiteOutbox:
    """An outbox in use by this process while the commands look at it."""
    return SQLiteOutbox(str(folder / "shop.db"))


@pytest.fixture
def url(kept: SQLiteOutbox) -> Iterator[str]:
    """The address of an outbox with three events waiting and two dead."""
    asyncio.run(_fill(kept))
    yield "sqlite:///shop.db"
    kept.close()


async def _fill(kept: SQLiteOutbox) -> None:
    kept.append([event("alice-7", user_attributes={"u_em": "a@b.example"}), event()])
    ids = [claim.id for claim in await kept.claim(limit=10, lease_for=30)]
    await kept.bury(ids[:1], reason="400 Invalid Field Value: alice-7 is not known")
    await kept.bury(ids[1:], reason="older than 7 days")
    kept.append([event("bob-7", b_id="Shop Now"), event("carol"), event("dave")])
    await kept.flush()


def run(*arguments: str, input: str | bytes | None = None) -> Result:
    return cli_runner().invoke(
        outbox_commands, arguments, input=input, catch_exceptions=False
    )


def waiting(kept: SQLiteOutbox) -> Sequence[Event | None]:
    return [one.event for one in asyncio.run(kept.waiting(limit=10_000))]


def test_status_counts_and_says_if_it_can_be_written(url: str) -> None:
    result = run("status", "--outbox", url)

    assert result.exit_code == 0
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert lines["outbox"] == url
    assert (lines["waiting"], lines["dead"], lines["writable"]) == ("3", "2", "yes")
    assert lines["oldest"].endswith(" d")


def test_status_is_json_for_scripts(url: str) -> None:
    found = json.loads(run("status", "--json", "--outbox", url).stdout)

    assert found.pop("oldest_age") > 86_400
    assert found == {
        "outbox": url,
        "waiting": 3,
        "dead": 2,
        "writable": True,
        "problem": None,
        "relays": 0,
        "delivered_per_minute": 0,
        "failed_at": None,
        "next_try_at": None,
        # They have waited for days.
        "delivery_problem": "no relay",
    }


def test_status_of_an_outbox_that_cannot_be_written_ends_with_1(
    folder: Path,
) -> None:
    (folder / "shop.db").mkdir()

    result = run("status", "--outbox", "sqlite:///shop.db")

    assert result.exit_code == 1
    assert "shop.db: " in result.stderr


def test_the_settings_name_the_outbox(url: str, folder: Path) -> None:
    (folder / "moe.yml").write_text(
        "workspace: {data_center: sandbox}\nroutes: []\n"
        f"events: {{outbox: '{url}'}}\n"
    )

    assert "waiting   3" in run("status").stdout
    assert "waiting   3" in run("status", "--config", "moe.yml").stdout


def test_list_shows_neither_ids_of_people_nor_payloads(url: str) -> None:
    listed = run("list", "--outbox", url).stdout
    dead = run("list", "--dead", "--outbox", url).stdout
    as_json = run("list", "--json", "--outbox", url).stdout
    as_json += run("list", "--dead", "--json", "--outbox", url).stdout
    as_json += run("show", "1", "--json", "--outbox", url).stdout
    as_json += run("show", "1", "--outbox", url).stdout

    heads, *rows = listed.splitlines()
    assert heads.split() == ["ID", "ACTION", "AGE", "ATTEMPTS", "DUE", "IN"]
    assert [row.split()[0] for row in rows] == ["3", "4", "5"]
    assert rows[0].split()[-1] == "now"
    heads, *rows = dead.splitlines()
    assert heads.split()[-1] == "REASON"
    assert [row.split()[0] for row in rows] == ["2", "1"]
    assert rows[1].endswith("400 Invalid Field Value")
    for secret in SECRETS:
        assert secret not in listed + dead + as_json


def test_list_reveals_what_is_asked_for(url: str) -> None:
    dead = run("list", "--dead", "--reveal", "--outbox", url).stdout
    [first, _] = json.loads(
        run("list", "--limit", "2", "--json", "--reveal", "--outbox", url).stdout
    )

    assert "alice-7 is not known" in dead
    assert "00000000-0000-4000-8000" in dead
    assert (first["customer_id"], first["b_id"]) == ("bob-7", "Shop Now")
    assert first["experience_context"]["experience"] == "Homepage banner"


def test_list_goes_on_behind_an_id(url: str) -> None:
    listed = run("list", "--after", "3", "--limit", "1", "--outbox", url).stdout
    nothing = run("list", "--after", "5", "--outbox", url).stdout

    assert listed.splitlines()[1].split()[0] == "4"
    assert nothing == "nothing waits\n"


def test_show_tells_all_of_one_event(url: str) -> None:
    hidden = run("show", "1", "--outbox", url)
    shown = run("show", "1", "--reveal", "--outbox", url)
    missing = run("show", "99", "--outbox", url)

    assert "kind" in hidden.stdout
    assert "--reveal" in hidden.stdout
    assert "alice-7" in shown.stdout
    assert "a@b.example" in shown.stdout
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert "99: no event has this id" in missing.stderr


def test_replay_lets_dead_letters_wait_again(url: str, kept: SQLiteOutbox) -> None:
    chosen = run("replay", "1", "--outbox", url)
    last = [one and one.customer_id for one in waiting(kept)][-1]
    partly = run("replay", "2", "99", "--outbox", url)
    nothing = run("replay", "--all", "--outbox", url)

    assert (chosen.exit_code, chosen.stdout, last) == (0, "replayed 1\n", "alice-7")
    assert partly.exit_code == 1
    assert partly.stderr == "replayed 1 of 2: the others are not there\n"
    assert nothing.stdout == "replayed 0\n"
    assert len(waiting(kept)) == 5


@pytest.mark.parametrize("command", [["replay"], ["purge", "dead"]])
@pytest.mark.parametrize("choice", [[], ["1", "--all"]])
def test_nothing_is_changed_without_a_clear_choice(
    url: str, kept: SQLiteOutbox, command: list[str], choice: list[str]
) -> None:
    result = run(*command, *choice, "--outbox", url)

    assert result.exit_code == 2
    assert "name one ID or more, or say --all" in result.stderr
    assert asyncio.run(kept.count()).dead == 2


def test_purge_asks_first_unless_the_answer_is_given(
    url: str, kept: SQLiteOutbox
) -> None:
    refused = run("purge", "waiting", "--all", "--outbox", url, input="n\n")
    left = len(waiting(kept))
    taken = run("purge", "waiting", "--all", "--outbox", url, input="y\n")
    unasked = run("purge", "dead", "1", "--yes", "--outbox", url)

    assert f"Delete 3 waiting events of {url}?" in refused.stderr
    assert (refused.exit_code, left) == (1, 3)
    assert taken.stdout.splitlines()[-1] == "purged 3"
    assert waiting(kept) == []
    assert (unasked.exit_code, unasked.stdout) == (0, "purged 1\n")
    assert [one.id for one in asyncio.run(kept.dead_letters())] == [2]


def test_what_is_exported_can_be_imported(
    url: str, kept: SQLiteOutbox, folder: Path
) -> None:
    unreadable = b'{"no": "event"} \xff'
    asyncio.run(_bury_unreadable(kept, unreadable))
    exported = run("export", "all.jsonl", "--outbox", url)
    imported = run("import", "all.jsonl", "--outbox", "sqlite:///other.db")

    other = SQLiteOutbox("other.db")
    events = waiting(other)
    letters = asyncio.run(other.dead_letters())
    other.close()
    assert exported.stderr == "exported 6\n"
    assert imported.stderr == "imported 6\n"
    assert events == waiting(kept)
    found = {(one.reason, one.event, one.body) for one in letters if not one.event}
    assert found == {("unreadable", None, unreadable)}
    assert sorted(one.reason for one in letters) == [
        "400 Invalid Field Value: alice-7 is not known",
        "older than 7 days",
        "unreadable",
    ]
    assert stat.S_IMODE((folder / "all.jsonl").stat().st_mode) == 0o600
    assert len(waiting(kept)) == 3


async def _bury_unreadable(kept: SQLiteOutbox, body: bytes) -> None:
    from moe_middleware.outbox import DeadLetter

    await kept.restore([DeadLetter(id=0, body=body, reason="unreadable")])


def test_export_takes_one_kind_and_overwrites_nothing(url: str, folder: Path) -> None:
    dead = run("export", "--dead", "-", "--outbox", url)
    waiting_only = run("export", "--waiting", "some.jsonl", "--outbox", url)
    again = run("export", "some.jsonl", "--outbox", url)
    nowhere = run("export", "no/such/folder.jsonl", "--outbox", url)

    lines = [json.loads(line) for line in dead.stdout.splitlines()]
    assert [line["kind"] for line in lines] == ["dead", "dead"]
    assert lines[1]["event"]["customer_id"] == "alice-7"
    assert waiting_only.exit_code == 0
    assert len((folder / "some.jsonl").read_text().splitlines()) == 3
    assert again.exit_code == 1
    assert "some.jsonl: is there already" in again.stderr
    assert nowhere.exit_code == 1
    assert "no/such/folder.jsonl: cannot be written: " in nowhere.stderr


def test_import_reads_the_input_and_names_a_file_that_is_not_there(url: str) -> None:
    exported = run("export", "-", "--outbox", url)
    other = ["--outbox", "sqlite:///other.db"]
    imported = run("import", "-", *other, input=exported.stdout_bytes)
    missing = run("import", "none.jsonl", *other)

    assert imported.stderr == "imported 5\n"
    assert missing.exit_code == 1
    assert "none.jsonl: cannot be read: " in missing.stderr


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "[]",
        "{}",
        '{"kind": "dead", "event": {}}',
        '{"kind": "waiting", "event": null, "body": "?"}',
    ],
)
def test_a_line_that_export_did_not_write_imports_nothing(
    url: str, kept: SQLiteOutbox, folder: Path, line: str
) -> None:
    good = run("export", "--waiting", "-", "--outbox", url).stdout
    (folder / "bad.jsonl").write_text(good + line + "\n")

    result = run("import", "bad.jsonl", "--outbox", url)

    assert result.exit_code == 1
    assert result.stderr == "line 4: this is no event that 'export' wrote\n"
    assert len(waiting(kept)) == 3


def test_nothing_is_made_by_looking(folder: Path) -> None:
    result = run("status", "--outbox", "sqlite:///typo.db")

    assert result.exit_code == 1
    assert "typo.db: there is no such file" in result.stderr
    assert os.listdir(folder) == []


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["--outbox", "memory:"], 1, "memory: is inside the server's process"),
        (["--outbox", "shop.db"], 2, "'shop.db' is no place to keep things"),
        (["--config", "nowhere.yml"], 1, "nowhere.yml: there is no such file"),
        ([], 1, "workspace"),
        (["--outbox", "redis://:secret@127.0.0.1:1/0"], 1, "workspace"),
    ],
)
def test_an_outbox_that_cannot_be_looked_at_is_explained(
    folder: Path, arguments: list[str], exit_code: int, message: str
) -> None:
    result = run("status", *arguments)

    assert result.exit_code == exit_code
    assert message in result.stderr
    assert "secret" not in result.output


def test_every_command_has_help_with_its_exit_codes() -> None:
    assert "Exit codes" in run("--help").stdout
    for name in outbox_commands.commands:
        assert "Exit codes" in run(name, "--help").stdout, name


# --- a real process on a terminal, beside one that appends ----------------

PROGRAM = "from moe_middleware.cli.outbox import outbox; outbox()"


def test_long_work_shows_its_progress_on_a_terminal(
    folder: Path, kept: SQLiteOutbox
) -> None:
    kept.append([event("many")] * 5000)
    asyncio.run(kept.flush())
    command = [sys.executable, "-c", PROGRAM, "export", "all.jsonl"]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*command, "--outbox", "sqlite:///shop.db"], stderr=theirs
    ) as exporting:
        # The other process is not in the way of this one.
        kept.append([event("meanwhile")])
        assert exporting.wait(PATIENCE) == 0
    os.close(theirs)
    shown = b""
    with os.fdopen(ours, "rb") as terminal, suppress(OSError):
        # It ends with an error, as the terminal's other end is closed.
        while read := terminal.read1(65536):
            shown += read
    kept.close()

    assert b"exporting" in shown
    assert b"%" in shown
    assert len((folder / "all.jsonl").read_text().splitlines()) in (5000, 5001)
