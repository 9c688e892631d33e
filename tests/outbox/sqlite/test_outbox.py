"""What an outbox in a file promises beyond the contract: real files, real processes."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from moe_middleware.models.errors import OutboxError
from moe_middleware.models.events import Event
from moe_middleware.outbox import SQLiteOutbox
from moe_middleware.outbox.delivery import Report
from moe_middleware.outbox.encoding import encode
from moe_middleware.outbox.relay import Relay
from moe_middleware.outbox.sqlite.files import (
    SCHEMA_VERSION,
    identity_of,
    open_file,
    set_aside,
)

from ...alone import alone
from ...makers import event

PATIENCE = 60.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def outbox(path: Path) -> Iterator[SQLiteOutbox]:
    opened = SQLiteOutbox(str(path))
    yield opened
    opened.close()


async def customers(outbox: SQLiteOutbox) -> list[str]:
    waiting = await outbox.waiting(limit=100_000)
    return [one.event.customer_id for one in waiting if one.event]


def run_python(program: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def flush_here(outbox: SQLiteOutbox) -> None:
    """Flush in a forked child, where the event loop is the parent's."""
    flushing = threading.Thread(target=lambda: asyncio.run(outbox.flush()))
    flushing.start()
    flushing.join(PATIENCE)


# --- the file --------------------------------------------------------------


async def test_nothing_is_opened_before_the_first_use(
    outbox: SQLiteOutbox, path: Path
) -> None:
    await outbox.flush()
    existed = path.exists()

    outbox.append([event()])
    await outbox.flush()

    assert not existed
    assert path.exists()


@pytest.mark.parametrize(("setting", "pragma"), [("normal", 1), ("full", 2)])
def test_synchronous_is_what_was_asked_for(
    path: Path, setting: str, pragma: int
) -> None:
    with closing(open_file(str(path), synchronous=setting)) as db:  # type: ignore[arg-type]
        assert db.execute("pragma synchronous").fetchone() == (pragma,)
        assert db.execute("pragma journal_mode").fetchone() == ("wal",)


OLD = """
create table event (
    id integer primary key,
    body text not null,
    claimable_at real not null,
    attempts integer not null default 0
);
create index event_claimable_at on event (claimable_at);
create table dead_letter (
    id integer primary key,
    body text not null,
    reason text not null,
    buried_at real not null
);
pragma user_version = 1;
insert into event (id, body, claimable_at, attempts) values
    (7, '{BODY}', 9e12, 3), (9, '{BODY}', 0, 0);
insert into dead_letter (id, body, reason, buried_at) values (9, '{BODY}', '400 No', 5);
"""


async def test_an_older_file_is_migrated(outbox: SQLiteOutbox, path: Path) -> None:
    body = encode(event("alice")).decode()
    with closing(sqlite3.connect(path)) as db:
        db.executescript(OLD.replace("{BODY}", body))

    claims = await outbox.claim(limit=10, lease_for=30)
    [letter] = await outbox.dead_letters()
    outbox.append([event("new")])
    await outbox.flush()
    counted = await outbox.count()

    assert [claim.event.customer_id for claim in claims] == ["alice", "alice"]
    assert (letter.reason, letter.buried_at) == ("400 No", 5)
    assert (counted.waiting, counted.dead) == (3, 1)
    listed = [one.id for one in await outbox.waiting()]
    assert len({*listed, letter.id}) == 4
    assert await outbox.find(letter.id) == letter


async def test_many_processes_may_be_the_first(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript(OLD.replace("{BODY}", "{}"))
    start, started = os.pipe()
    children = []
    for number in range(3):
        if (child := os.fork()) == 0:
            os.close(started)
            os.read(start, 1)  # ends when the parent lets all of them go
            outbox = SQLiteOutbox(str(path))
            outbox.append([event(f"u{number}")])
            outbox.close()
            os._exit(0)
        children.append(child)
    os.close(started)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    os.close(start)

    outbox = SQLiteOutbox(str(path))
    found = sorted(await customers(outbox))
    outbox.close()

    assert statuses == [0] * 3
    assert found == ["u0", "u1", "u2"]


async def test_a_newer_file_is_refused_and_not_touched(
    outbox: SQLiteOutbox, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(open_file(str(path), synchronous="normal")) as db:
        db.execute(f"pragma user_version = {SCHEMA_VERSION + 1}")
        db.execute("pragma wal_checkpoint(truncate)")
    written = path.read_bytes()

    outbox.append([event("kept")])
    with pytest.raises(OutboxError, match="a newer moe_middleware wrote this file"):
        await outbox.count()
    health = await outbox.health(timeout=PATIENCE)
    untouched = path.read_bytes()
    path.unlink()
    await outbox.flush()

    assert untouched == written
    assert (health.writable, health.unsaved) == (False, 1)
    assert "upgrade this one" in str(health.problem)
    assert await customers(outbox) == ["kept"]
    assert "outbox_recovered" in caplog.text


async def test_a_file_that_becomes_newer_is_not_written_any_more(
    outbox: SQLiteOutbox, path: Path
) -> None:
    outbox.append([event()])
    await outbox.flush()
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"pragma user_version = {SCHEMA_VERSION + 1}")

    outbox.append([event()])
    with pytest.raises(OutboxError, match="newer"):
        await outbox.flush()

    with closing(sqlite3.connect(path)) as db:
        assert db.execute("select count(*) from event").fetchone() == (1,)
        db.execute(f"pragma user_version = {SCHEMA_VERSION}")
    await outbox.flush()
    assert (await outbox.count()).waiting == 2


@pytest.mark.parametrize(
    "made",
    [
        "create table event (id integer)",
        "pragma application_id = 99",
        "create table account (id integer); pragma user_version = 7;"
        "pragma application_id = 5",
    ],
)
async def test_another_programs_database_is_refused_and_not_touched(
    outbox: SQLiteOutbox, path: Path, made: str
) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript(made)
    written = path.read_bytes()

    with pytest.raises(OutboxError, match="another program's database"):
        await outbox.count()

    assert path.read_bytes() == written
    assert os.listdir(path.parent) == [path.name]


# --- bad days --------------------------------------------------------------


async def test_events_wait_for_a_missing_directory_and_are_then_written_unasked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "later"
    outbox = SQLiteOutbox(str(folder / "outbox.db"))

    with caplog.at_level(logging.ERROR):
        outbox.append([event(), event()])
        for _ in range(2):
            with pytest.raises(OutboxError, match=f"there is no directory {folder}"):
                await outbox.flush()
        health = await outbox.health(timeout=PATIENCE)
        folder.mkdir()
        async with asyncio.timeout(PATIENCE):
            while not waiting_in(folder / "outbox.db"):
                await asyncio.sleep(0.01)
        counted = await outbox.count()
    outbox.close()

    assert (health.writable, health.unsaved) == (False, 2)
    assert (counted.waiting, counted.unsaved) == (2, 0)
    assert caplog.text.count("outbox_failed") == 1
    assert f"there is no directory {folder}: make it" in caplog.text


def waiting_in(path: Path) -> int:
    """Count a file's events, from outside."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            (waiting,) = db.execute("select waiting from state").fetchone()
            return int(waiting)
    except sqlite3.Error:
        return 0


async def test_what_cannot_be_saved_by_the_close_is_counted_as_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = SQLiteOutbox(str(tmp_path / "missing" / "outbox.db"))
    outbox.append([event(), event()])

    with caplog.at_level(logging.ERROR):
        outbox.close()

    assert "events_lost count=2" in caplog.text


async def test_a_reserve_that_was_created_and_never_allocated_is_allocated(
    path: Path, outbox: SQLiteOutbox
) -> None:
    reserve = Path(f"{path}-reserve")
    reserve.touch()

    outbox.append([event()])
    await outbox.flush()

    assert reserve.stat().st_size > 0


@pytest.mark.parametrize("when_full", ["refuse", "drop_oldest"])
async def test_what_waits_for_the_file_is_bounded_as_what_is_in_it(
    tmp_path: Path, when_full: str
) -> None:
    folder = tmp_path / "later"
    outbox = SQLiteOutbox(
        str(folder / "outbox.db"),
        max_events=3_000,
        when_full=when_full,  # type: ignore[arg-type]
    )
    outbox.append([event("first")])
    with pytest.raises(OutboxError):
        await outbox.flush()
    many = [event("many")] * 1000
    for _ in range(4):
        outbox.append(many)
    unsaved = (await outbox.health(timeout=PATIENCE)).unsaved
    folder.mkdir()
    await outbox.flush()

    counted = await outbox.count()
    [oldest] = await outbox.waiting(limit=1)
    outbox.close()

    # Whole appends give way in the journal, single events in the file.
    assert 3_000 <= unsaved <= 3_001
    assert counted.waiting == 3_000
    assert oldest.event is not None
    if when_full == "refuse":
        assert (counted.refused, counted.dropped) == (1_001, 0)
        assert oldest.event.customer_id == "first"
    else:
        assert (counted.refused, counted.dropped) == (0, 1_001)
        assert oldest.event.customer_id == "many"


async def test_a_locked_file_keeps_no_page_waiting_and_loses_nothing(
    path: Path,
) -> None:
    outbox = SQLiteOutbox(str(path), busy_timeout=0.2)
    outbox.append([event()])
    await outbox.flush()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin exclusive")

    outbox.append([event()])
    with pytest.raises(OutboxError, match=re.escape(str(path))):
        await outbox.flush()
    with pytest.raises(OutboxError, match=re.escape(str(path))):
        await outbox.ack([99])
    # Readers need no lock.
    counted = await outbox.count()
    health = await outbox.health(timeout=PATIENCE)
    other.rollback()
    other.close()
    await outbox.flush()
    afterwards = await outbox.count()
    outbox.close()

    assert (health.writable, health.unsaved) == (False, 1)
    assert (counted.waiting, counted.unsaved) == (1, 1)
    assert (afterwards.waiting, afterwards.unsaved) == (2, 0)


async def test_a_short_lock_is_only_a_wait(outbox: SQLiteOutbox, path: Path) -> None:
    outbox.append([event()])
    await outbox.flush()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin exclusive")

    outbox.append([event()])
    health = await outbox.health(timeout=0.1)
    other.rollback()
    other.close()
    await outbox.flush()

    assert not health.writable
    assert "within 0.1 s" in str(health.problem)
    assert (await outbox.count()).waiting == 2


async def test_a_fork_does_not_wait_for_a_locked_file(
    outbox: SQLiteOutbox, path: Path
) -> None:
    outbox.append([event("first")])
    await outbox.flush()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin exclusive")
    outbox.append([event("waiting")])

    child = os.fork()
    if child == 0:
        os._exit(0)
    _, status = os.waitpid(child, 0)
    locked = other.in_transaction
    other.rollback()
    other.close()
    await outbox.flush()

    assert (status, locked) == (0, True)
    assert await customers(outbox) == ["first", "waiting"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    if os.geteuid() or not shutil.which("mount") or subprocess.run(mount).returncode:
        pytest.skip("a small disk takes a root who may mount")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("filled_by", ["itself", "someone else"])
async def test_a_full_disk_is_drained_to_the_last_event(
    small_disk: Path, filled_by: str, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = SQLiteOutbox(str(small_disk / "outbox.db"))
    outbox.append([event("early")] * 3_000)
    await outbox.flush()
    if filled_by == "someone else":
        fill(small_disk)
    for _ in range(30):
        outbox.append([event("late")] * 1_000)
    with pytest.raises(OutboxError, match=r"outbox\.db"):
        await outbox.flush()
    health = await outbox.health(timeout=PATIENCE)

    # As `relay --until-empty` does, which has the file open for itself.
    relay = SQLiteOutbox(str(small_disk / "outbox.db"))
    tried = await relay.health(timeout=PATIENCE)
    delivered = 0
    while (counted := await outbox.count()).waiting or counted.unsaved:
        claims = await relay.claim(limit=1_000, lease_for=30, relay="one")
        await relay.ack([claim.id for claim in claims])
        delivered += len(claims)
    afterwards = await outbox.health(timeout=PATIENCE)
    relay.close()
    outbox.close()

    assert not health.writable
    assert not tried.writable
    assert "full" in str(tried.problem)
    assert delivered == 33_000
    assert afterwards.writable
    assert caplog.text.count("outbox_disk_full") == 1


async def test_a_small_file_on_a_full_disk_is_drained_as_fast_as_it_is_delivered(
    small_disk: Path,
) -> None:
    outbox = SQLiteOutbox(str(small_disk / "outbox.db"))
    outbox.append([event()])
    await outbox.flush()
    # Too little is left to reserve any, and the file has but a few pages.
    (small_disk / "outbox.db-reserve").unlink()
    fill(small_disk, leave=4_000_000)
    for number in range(250):
        outbox.append([event(f"late-{number}")])
    arrived: list[str] = []
    with pytest.raises(OutboxError, match="full"):
        await outbox.flush()
    relay = Relay(outbox, keep(arrived))
    running = asyncio.create_task(relay.run())
    async with asyncio.timeout(PATIENCE):
        while len(arrived) < 251:
            await asyncio.sleep(0.05)
    relay.stop()
    await running
    counted = await outbox.count()
    outbox.close()

    assert len(set(arrived)) == len(arrived)
    assert (counted.waiting, counted.unsaved, counted.lost) == (0, 0, 0)


def keep(arrived: list[str]) -> Report:
    """Return a report that keeps the customers."""

    async def report(events: Sequence[Event]) -> None:
        arrived.extend(one.customer_id for one in events)

    return report


def fill(folder: Path, *, leave: int = 0) -> None:
    if leave:
        size = shutil.disk_usage(folder).free - leave
        (folder / "ballast").write_bytes(bytes(size))
        return
    with (folder / "ballast").open("wb", 0) as file, suppress(OSError):
        while True:
            file.write(bytes(1024))


async def test_a_full_disk_loses_nothing_that_fits_in_memory(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = SQLiteOutbox(str(small_disk / "outbox.db"))
    outbox.append([event(f"early-{number}") for number in range(400)])
    await outbox.flush()
    # Another process that has the file open, too.
    db = sqlite3.connect(small_disk / "outbox.db", isolation_level=None)
    db.execute("pragma wal_checkpoint(restart)")
    ballast = small_disk / "ballast"
    with pytest.raises(OSError) as full, ballast.open("wb", 0) as file:
        while True:
            file.write(bytes(1024))
    assert full.value.errno == errno.ENOSPC

    outbox.append([event(f"late-{number}") for number in range(1000)])
    with pytest.raises(OutboxError, match=r"outbox\.db"):
        await outbox.flush()
    health = await outbox.health(timeout=PATIENCE)
    # A relay still delivers: what it claims and acks needs no room.
    for _ in range(30):
        claims = await outbox.claim(limit=10, lease_for=30)
        await outbox.ack([claim.id for claim in claims])
    db.close()
    ballast.unlink()
    await outbox.flush()
    found = await customers(outbox)
    outbox.close()

    assert (health.writable, health.unsaved) == (False, 1000)
    assert found == [
        *(f"early-{number}" for number in range(300, 400)),
        *(f"late-{number}" for number in range(1000)),
    ]
    assert caplog.text.count("outbox_disk_full") == 1
    assert caplog.text.count("outbox_recovered") == 1


async def test_a_read_only_disk_is_only_a_pause(small_disk: Path) -> None:
    remount = ["mount", "-o"]
    outbox = SQLiteOutbox(str(small_disk / "outbox.db"))
    outbox.append([event("before")])
    outbox.close()
    subprocess.run([*remount, "remount,ro", str(small_disk)], check=True)

    outbox.append([event("meanwhile")])
    with pytest.raises(OutboxError):
        await outbox.flush()
    health = await outbox.health(timeout=PATIENCE)
    # A deploy that waits for an empty outbox does not wait for this.
    relay = Relay(outbox, keep([]))
    with pytest.raises(OutboxError, match=r"outbox\.db"):
        await asyncio.wait_for(relay.run(until_empty=True), PATIENCE / 2)
    subprocess.run([*remount, "remount,rw", str(small_disk)], check=True)
    await outbox.flush()
    found = await customers(outbox)
    outbox.close()

    assert (health.writable, health.unsaved) == (False, 1)
    assert found == ["before", "meanwhile"]


async def test_a_file_that_is_no_database_is_set_aside(
    outbox: SQLiteOutbox, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(b"no database at all" * 1000)

    outbox.append([event("alice")])
    found = await customers(outbox)

    kept = [name for name in os.listdir(path.parent) if ".corrupt-" in name]
    assert found == ["alice"]
    assert len(kept) == 1
    assert (path.parent / kept[0]).read_bytes().startswith(b"no database")
    assert "outbox_corrupt" in caplog.text
    assert kept[0] in caplog.text


def test_what_belongs_to_a_corrupt_file_goes_with_it(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").write_text(suffix)

    set_aside(str(path), corrupt=(0, 0))
    untouched = sorted(os.listdir(path.parent))
    set_aside(str(path), corrupt=identity_of(str(path)))

    assert untouched == ["outbox.db", "outbox.db-shm", "outbox.db-wal"]
    names = sorted(os.listdir(path.parent))
    assert [name.startswith("outbox.db.corrupt-") for name in names] == [True] * 3
    assert [(path.parent / name).read_text() for name in names] == ["", "-shm", "-wal"]


async def test_a_file_that_is_damaged_in_use_is_set_aside_once_by_all(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outboxes = [SQLiteOutbox(str(path)) for _ in range(3)]
    outboxes[0].append([event(f"lost-{number}") for number in range(200)])
    for one in outboxes:
        await one.flush()
        await one.count()
    with closing(sqlite3.connect(path)) as db:
        db.execute("pragma wal_checkpoint(truncate)")
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(4096)
        file.write(os.urandom(size - 4096))

    for number, one in enumerate(outboxes):
        one.append([event(f"kept-{number}")])
    await asyncio.gather(*(one.flush() for one in outboxes))
    found = sorted(await customers(outboxes[0]))
    counts = [await one.count() for one in outboxes]
    for one in outboxes:
        one.close()

    assert found == ["kept-0", "kept-1", "kept-2"]
    assert [counted.waiting for counted in counts] == [3, 3, 3]
    assert caplog.text.count("kept_as") == 1
    set_aside = [
        name
        for name in os.listdir(path.parent)
        if ".corrupt-" in name and not name.endswith(("-wal", "-shm"))
    ]
    assert len(set_aside) == 1


TAKEN_AWAY = {
    "file deleted": [""],
    "all deleted": ["", "-wal", "-shm"],
    "renamed": [""],
}


@pytest.mark.parametrize("how", TAKEN_AWAY)
async def test_what_a_file_held_that_is_taken_away_is_moved_once_by_all(
    path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    outboxes = [SQLiteOutbox(str(path)) for _ in range(2)]
    early = [f"early-{number}" for number in range(1_200)]
    outboxes[0].append([event(name) for name in early])
    await outboxes[0].flush()
    [buried] = await outboxes[0].claim(limit=1, lease_for=30, relay="one")
    await outboxes[0].bury([buried.id], reason="refused")
    [claimed] = await outboxes[1].claim(limit=1, lease_for=30, relay="one")
    for suffix in TAKEN_AWAY[how]:
        if how == "renamed":
            path.rename(f"{path}.old")
        else:
            Path(f"{path}{suffix}").unlink()

    for one in outboxes:
        one.append([event("late")])
        await one.flush()
    # Delivered meanwhile by a relay: the id means no event of the new file's.
    await outboxes[0].ack([claimed.id])
    counted = [await one.count() for one in outboxes]
    found = sorted(await customers(outboxes[1]))
    letters = await outboxes[1].dead_letters()
    for one in outboxes:
        one.close()

    assert [one.waiting for one in counted] == [1_201, 1_201]
    assert found == sorted([*early[1:], "late", "late"])
    assert [letter.reason for letter in letters] == ["refused"]
    assert "moved=1200" in caplog.text


@pytest.mark.parametrize("how", ["copy", "fails"])
async def test_ids_of_a_file_that_is_replaced_are_none_of_the_next_ones(
    tmp_path: Path, path: Path, how: str
) -> None:
    folder = tmp_path / "copies"
    folder.mkdir()
    other = SQLiteOutbox(str(folder / "outbox.db"))
    other.append([event(f"other-{number}") for number in range(4)])
    await other.flush()
    [buried] = await other.claim(limit=1, lease_for=30)
    await other.bury([buried.id], reason="other")
    other.close()
    outbox = SQLiteOutbox(str(path))
    outbox.append([event(f"own-{number}") for number in range(4)])
    await outbox.flush()
    first, second, third, _ = await outbox.claim(limit=4, lease_for=30, relay="one")
    await outbox.bury([first.id], reason="own")
    if how == "fails":
        # The file is let go of, as it cannot be used.
        path.unlink()
        path.mkdir()
        with pytest.raises(OutboxError):
            await outbox.count()
        path.rmdir()
    (folder / "outbox.db").replace(path)

    await outbox.extend([second.id], lease_for=1_000)
    await outbox.ack([second.id])
    await outbox.retry([third.id], delay=1_000)
    await outbox.bury([third.id], reason="late")
    claims = await outbox.claim(limit=10, lease_for=30)
    letters = await outbox.dead_letters()
    await outbox.ack([claim.id for claim in claims[:3]])
    found = await outbox.find(letters[0].id), await outbox.find(claims[3].id)
    left = await customers(outbox)
    replayed = await outbox.replay()
    outbox.close()

    names = [claim.event.customer_id for claim in claims]
    assert names == [
        *(f"other-{number}" for number in range(1, 4)),
        *(f"own-{number}" for number in range(1, 4)),
    ]
    assert sorted(letter.reason for letter in letters) == ["other", "own"]
    assert len({letter.id for letter in letters} | {one.id for one in claims}) == 8
    assert found[0] == letters[0]
    assert found[1] is not None and found[1].event == claims[3].event
    assert left == [f"own-{number}" for number in range(1, 4)]
    assert replayed == 2


async def test_a_file_that_is_replaced_while_it_is_opened_is_not_mistaken(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = SQLiteOutbox(str(tmp_path / "other.db"))
    other.append([event("other")])
    await other.flush()
    other.close()
    connect = sqlite3.connect

    def slow(*given: Any, **more: Any) -> sqlite3.Connection:
        monkeypatch.undo()
        db: sqlite3.Connection = connect(*given, **more)
        db.execute("select * from sqlite_master").fetchall()
        (tmp_path / "other.db").replace(path)
        return db

    monkeypatch.setattr(sqlite3, "connect", slow)
    outbox = SQLiteOutbox(str(path))
    outbox.append([event("late")])
    await outbox.flush()
    found = await customers(outbox)
    outbox.close()

    assert found == ["other", "late"]


@pytest.mark.parametrize("is_back", [True, False])
async def test_what_a_deleted_file_held_is_moved_once_its_folder_is_back_or_is_lost(
    tmp_path: Path, is_back: bool, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "volume"
    folder.mkdir()
    outbox = SQLiteOutbox(str(folder / "outbox.db"))
    outbox.append([event("early")])
    await outbox.flush()
    shutil.rmtree(folder)
    outbox.append([event("late")])
    with pytest.raises(OutboxError):
        await outbox.flush()

    if is_back:
        folder.mkdir()
        await outbox.flush()
        assert sorted(await customers(outbox)) == ["early", "late"]
    outbox.close()

    assert ("events_lost count=2" in caplog.text) is not is_back


FORGED = b"{},99,0," + encode(event("forged"))


@pytest.mark.parametrize("spoiled", [b"{\xff", FORGED, b""], ids=range(3))
async def test_a_body_that_is_spoiled_in_the_file_spoils_no_other(
    outbox: SQLiteOutbox, path: Path, spoiled: bytes
) -> None:
    outbox.append([event("alice"), event("bob"), event("carol")])
    await outbox.flush()
    with closing(sqlite3.connect(path)) as db, db:
        spoil = "update event set body = cast(? as text) where id = 2"
        db.execute(spoil, (spoiled,))

    claims = await outbox.claim(limit=10, lease_for=30)
    [letter] = await outbox.dead_letters()

    assert [claim.event.customer_id for claim in claims] == ["alice", "carol"]
    assert (letter.reason, letter.body) == ("unreadable", spoiled)


async def test_a_mistaken_operation_fails_alone(outbox: SQLiteOutbox) -> None:
    outbox.append([event()])

    failing = outbox.claim(limit=2**70, lease_for=30)
    mistaken, counted = await asyncio.gather(
        failing, outbox.count(), return_exceptions=True
    )

    assert isinstance(mistaken, OverflowError)
    assert not isinstance(counted, BaseException)
    assert counted.waiting == 1
    assert (await outbox.health(timeout=PATIENCE)).writable


async def test_a_claim_that_is_no_longer_awaited_is_given_back(
    outbox: SQLiteOutbox, path: Path
) -> None:
    outbox.append([event()])
    await outbox.flush()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin immediate")
    waiting = asyncio.ensure_future(outbox.claim(limit=10, lease_for=3600))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    other.rollback()
    other.close()

    async with asyncio.timeout(PATIENCE):
        while not (claims := await outbox.claim(limit=10, lease_for=30)):
            await asyncio.sleep(0.01)

    assert len(claims) == 1


async def test_a_customer_of_very_many_events_does_not_slow_every_claim_down(
    outbox: SQLiteOutbox, path: Path
) -> None:
    outbox.append([event("alice") for _ in range(15_000)] + [event("bob")])
    [first] = await outbox.claim(limit=1, lease_for=30, relay="one")

    for _ in range(15):
        assert await outbox.claim(limit=1000, lease_for=30, relay="two") == []
    with closing(sqlite3.connect(path)) as db:
        (looked_at,) = db.execute("select count(*) from lease").fetchone()
    await outbox.ack([first.id])
    delivered = 0
    while claims := await outbox.claim(limit=5000, lease_for=30, relay="two"):
        delivered += len(claims)
        await outbox.ack([claim.id for claim in claims])

    assert looked_at <= 11_001
    assert delivered == 15_000


async def test_a_change_of_directory_changes_no_outbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outbox = SQLiteOutbox("outbox.db")
    outbox.append([event("before")])
    await outbox.flush()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)

    outbox.append([event("after")])
    await outbox.flush()
    found = await customers(outbox)
    outbox.close()

    assert found == ["before", "after"]
    assert os.listdir(elsewhere) == []


# --- forks -----------------------------------------------------------------


async def test_a_child_keeps_its_events_when_its_parent_lets_go_of_the_file(
    outbox: SQLiteOutbox, path: Path
) -> None:
    """SQLite takes a parent's open file for the child's own, and its locks, too."""
    outbox.append([event("parent")])
    await outbox.flush()
    to_child, to_parent = os.pipe(), os.pipe()

    child = os.fork()
    if child == 0:
        outbox.append([event("child")])
        flush_here(outbox)
        os.write(to_parent[1], b".")
        os.read(to_child[0], 1)
        outbox.append([event("child, later")])
        flush_here(outbox)
        # As a crash does: nothing is closed.
        os._exit(0)
    os.read(to_parent[0], 1)
    outbox.close()
    os.write(to_child[1], b".")
    _, status = os.waitpid(child, 0)
    for end in (*to_child, *to_parent):
        os.close(end)

    assert status == 0
    assert await customers(outbox) == ["parent", "child", "child, later"]


FORKS = """
import asyncio, os, signal, sys, threading
from moe_middleware import SQLiteOutbox
from tests.makers import event

outbox = SQLiteOutbox(sys.argv[1])
ended = threading.Event()

def append():
    number = 0
    while not ended.is_set():
        outbox.append([event("parent")])
        number += 1
        ended.wait(0.0003)
    appended.append(number)

appended = []
busy = [threading.Thread(target=append) for _ in range(2)]
for thread in busy:
    thread.start()
for number in range(int(sys.argv[2])):
    child = os.fork()
    if child == 0:
        # A child that hangs is killed by this, and the parent says so.
        signal.alarm(50)
        outbox.append([event("child")])
        outbox.close(timeout=40)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if status:
        print("child", number, "ended with", status, file=sys.stderr)
        os._exit(1)
ended.set()
for thread in busy:
    thread.join()
outbox.close(timeout=40)
print(sum(appended))
"""


async def test_forks_at_any_moment_of_a_busy_writer_neither_hang_nor_lose(
    outbox: SQLiteOutbox, path: Path
) -> None:
    with run_python(FORKS, path, 12) as ran:
        output, _ = ran.communicate(timeout=PATIENCE)

    assert ran.returncode == 0
    with closing(sqlite3.connect(path)) as db:
        found = dict(
            db.execute(
                "select json_extract(body, '$.customer_id') as customer, count(*) "
                "from event group by customer"
            ).fetchall()
        )
    assert found == {"child": 12, "parent": int(output)}


def threads_of_an_outbox(path: str) -> list[int]:
    """Return how many threads there are before, while it is open, and after."""
    counts = [threading.active_count()]
    outbox = SQLiteOutbox(path)
    outbox.append([event()])
    counts.append(threading.active_count())
    outbox.close(timeout=PATIENCE)
    return [*counts, threading.active_count()]


def test_the_thread_of_a_closed_outbox_ends(path: Path) -> None:
    assert alone(threads_of_an_outbox, str(path)) == [1, 2, 1]


async def test_where_no_thread_can_start_those_who_append_store_by_themselves(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while the interpreter ends, and on a system that has no more threads."""

    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    outbox = SQLiteOutbox(str(path), max_events=2)
    outbox.append([event("alice"), event("bob")])
    found = waiting_in(path)
    await outbox.ack([(await outbox.claim(limit=1, lease_for=30))[0].id])
    outbox.close()

    assert found == 2
    assert waiting_in(path) == 1
