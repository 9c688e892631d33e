"""One file for several workspaces: each event goes to its own workspace alone."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest

from moe_middleware import Settings, open_outbox
from moe_middleware.cli.checks import check
from moe_middleware.models.errors import OutboxError
from moe_middleware.outbox.encoding import encode
from moe_middleware.outbox.sqlite.files import open_file

from ...makers import event

PATIENCE = 60.0

WORKSPACES = ("tea", "coffee")


def killed_after_append(address: str, workspace: str, count: int) -> None:
    """Let a process append events and end before it has stored all of them."""
    if (child := os.fork()) == 0:
        outbox = open_outbox(address, workspace_id=workspace)
        for number in range(count):
            outbox.append([event(f"{workspace}-{number}")])
        os._exit(0)  # as a kill does: no atexit function runs
    assert os.waitpid(child, 0)[1] == 0


async def test_two_sites_with_one_file_keep_their_events_apart(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/outbox.db"
    for name in WORKSPACES:
        killed_after_append(address, name, 30)
    outboxes = [open_outbox(address, workspace_id=name) for name in WORKSPACES]

    found: dict[str, list[str]] = {name: [] for name in WORKSPACES}
    async with asyncio.timeout(PATIENCE):
        while sum(map(len, found.values())) < 60:
            for name, outbox in zip(WORKSPACES, outboxes, strict=True):
                with suppress(OutboxError):  # while the file is the other one's
                    claims = await outbox.claim(limit=10, lease_for=30)
                    await outbox.ack([claim.id for claim in claims])
                    found[name] += [claim.event.customer_id for claim in claims]
            await asyncio.sleep(0.01)
    for outbox in outboxes:
        outbox.close()

    for name in WORKSPACES:
        assert sorted(found[name]) == sorted(f"{name}-{one}" for one in range(30))


async def test_a_file_with_events_is_refused_to_another_workspace(
    tmp_path: Path,
) -> None:
    address = f"sqlite:///{tmp_path}/outbox.db"
    tea, coffee = (open_outbox(address, workspace_id=name) for name in WORKSPACES)
    tea.append([event("tea")])
    await tea.flush()

    coffee.append([event("coffee")])
    with pytest.raises(OutboxError, match="a file of its own") as refused:
        await coffee.flush()
    with pytest.raises(OutboxError, match="a file of its own"):
        await coffee.claim(limit=10, lease_for=30)
    health = await coffee.health(timeout=PATIENCE)
    [claim] = await tea.claim(limit=10, lease_for=30)
    await tea.ack([claim.id])
    # The file is empty now: the other workspace's event was kept, and is stored.
    await coffee.flush()
    [other] = await coffee.claim(limit=10, lease_for=30)
    tea.close()
    coffee.close()

    assert "waiting 1, dead letters 0" in str(refused.value)
    assert not any(name in str(refused.value) for name in WORKSPACES)
    assert (health.writable, health.unsaved) == (False, 1)
    assert claim.event.customer_id == "tea"
    assert other.event.customer_id == "coffee"


async def test_what_is_read_ends_no_outage(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    address = f"sqlite:///{tmp_path}/outbox.db"
    tea, coffee = (open_outbox(address, workspace_id=name) for name in WORKSPACES)
    tea.append([event("tea")])
    await tea.flush()

    with pytest.raises(OutboxError):
        await coffee.claim(limit=10, lease_for=30)
    for _ in range(3):
        await coffee.count()
    coffee.close()
    tea.close()

    assert "outbox_failed" in caplog.text
    assert "outbox_recovered" not in caplog.text


def test_check_refuses_a_file_with_events_of_another_workspace(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/outbox.db"
    tea = open_outbox(address, workspace_id="tea")
    tea.append([event("tea")])
    tea.close()

    def checked(workspace: str) -> list[str]:
        settings = Settings(
            workspace_id=workspace,
            api_key="key",
            data_center="01",
            routes=[],
            events={"outbox": address},
        )
        return [str(one) for one in check(settings)]

    [refused] = checked("coffee")

    assert "events.outbox" in refused
    assert "a file of its own" in refused
    assert checked("tea") == []


async def test_a_dead_letter_keeps_its_workspace(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/outbox.db"
    tea, coffee = (open_outbox(address, workspace_id=name) for name in WORKSPACES)
    tea.append([event("tea")])
    await tea.flush()
    [claim] = await tea.claim(limit=10, lease_for=30)
    await tea.bury([claim.id], reason="400 No")

    with pytest.raises(OutboxError, match="dead letters 1"):
        await coffee.replay()
    # Without a workspace, as the commands with --outbox have it.
    by_path = open_outbox(address)
    purged = await by_path.purge("dead")
    by_path.close()
    coffee.append([event("coffee")])
    await coffee.flush()
    coffee.close()
    tea.close()

    assert purged == 1


@pytest.mark.parametrize(
    ("version", "lacks"), [(2, ("process", "journal")), (3, ("journal",)), (4, ())]
)
async def test_a_file_of_an_older_version_belongs_to_the_first(
    tmp_path: Path, version: int, lacks: tuple[str, ...]
) -> None:
    path = tmp_path / "outbox.db"
    with closing(open_file(str(path), synchronous="normal")) as db:
        body = encode(event("old")).decode()
        db.execute("insert into event (body) values (?)", (body,))
        db.execute("update state set waiting = 1")
        db.execute("alter table state drop column workspace")
        for table in lacks:
            db.execute(f"drop table {table}")
        db.execute(f"pragma user_version = {version}")

    tea, coffee = (
        open_outbox(f"sqlite:///{path}", workspace_id=name) for name in WORKSPACES
    )
    tea.append([event("new")])
    await tea.flush()
    with pytest.raises(OutboxError, match="waiting 2"):
        await coffee.claim(limit=10, lease_for=30)
    claims = await tea.claim(limit=10, lease_for=30)
    await tea.note("one", b"note")
    notes = await tea.notes()
    tea.close()
    coffee.close()

    assert [one.event.customer_id for one in claims] == ["old", "new"]
    assert notes == {"one": b"note"}


async def test_events_of_a_replaced_file_keep_their_workspace(tmp_path: Path) -> None:
    path, restored = tmp_path / "outbox.db", tmp_path / "restored.db"
    tea = open_outbox(f"sqlite:///{path}", workspace_id="tea")
    tea.append([event("tea")])
    await tea.flush()
    before = open_outbox(f"sqlite:///{restored}", workspace_id="coffee")
    before.append([event("coffee")])
    before.close()
    restored.rename(path)

    with pytest.raises(OutboxError, match="a file of its own"):
        await tea.count()
    coffee = open_outbox(f"sqlite:///{path}", workspace_id="coffee")
    claims = await coffee.claim(limit=10, lease_for=30)
    await coffee.ack([one.id for one in claims])
    [claim] = await tea.claim(limit=10, lease_for=30)
    tea.close()
    coffee.close()

    assert [one.event.customer_id for one in claims] == ["coffee"]
    assert claim.event.customer_id == "tea"


def test_the_file_has_no_id_of_a_workspace(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    outbox = open_outbox(f"sqlite:///{path}", workspace_id="tea-and-thyme")
    outbox.append([event()])
    outbox.close()

    with closing(sqlite3.connect(path)) as db:
        (mark,) = db.execute("select workspace from state").fetchone()
    assert mark
    assert mark not in "tea-and-thyme"


async def test_a_journal_of_an_older_version_is_taken_over(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/outbox.db"
    killed_after_append(address, "", 1)

    tea = open_outbox(address, workspace_id="tea")
    [claim] = await tea.claim(limit=10, lease_for=30)
    tea.close()

    assert claim.event.customer_id == "-0"
