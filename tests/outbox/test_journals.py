"""What is appended survives its process, however it dies: real processes that die."""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import os
import re
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moe_middleware.outbox import Outbox, SQLiteOutbox
from moe_middleware.outbox.journal import Journal
from moe_middleware.outbox.journal_records import records_in
from moe_middleware.outbox.journal_segments import SEGMENT_SIZE, FileSegment, Segment
from moe_middleware.outbox.redis.outbox import RedisOutbox

from ..cli_runner import run
from ..makers import event
from ..redis_servers import redis_server
from ..servers import PATIENCE


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@contextmanager
def locked(path: Path) -> Iterator[Callable[[], object]]:
    """Let no process write an outbox's file: what is appended stays in the journal."""
    maker = SQLiteOutbox(str(path))
    asyncio.run(maker.note("made", b"1"))
    maker.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("begin immediate")
        yield db.rollback
        db.rollback()


def journals(path: Path) -> list[Path]:
    return sorted(path.parent.glob("*.journal-*"))


def stored(path: Path, *, count: int) -> list[str]:
    """Return the customers of waiting events, once there are so many."""

    async def wait() -> list[str]:
        outbox = SQLiteOutbox(str(path))
        async with asyncio.timeout(PATIENCE):
            while (await outbox.count()).waiting < count:
                await asyncio.sleep(0.02)
        found = await customers(outbox)
        outbox.close()
        return found

    return asyncio.run(wait())


async def customers(outbox: Outbox) -> list[str]:
    waiting = await outbox.waiting(limit=1_000_000)
    return [one.event.customer_id for one in waiting if one.event]


def in_a_child(work: Callable[[], object]) -> int:
    """Run this in a forked process; return its id."""
    if child := os.fork():
        return child
    faulthandler.disable()
    try:
        work()
    finally:
        os._exit(1)


def append_and_die(
    open_one: Callable[[], Outbox],
    count: int,
    end: Callable[[], object] = lambda: os._exit(0),
) -> list[str]:
    """Let a process append events and die; return their customers."""

    def append() -> None:
        outbox = open_one()
        for number in range(count):
            outbox.append([event(f"{os.getpid()}-{number}")])
        end()

    child = in_a_child(append)
    os.waitpid(child, 0)
    return [f"{child}-{number}" for number in range(count)]


def on(path: Path, **options: Any) -> Callable[[], Outbox]:
    return lambda: SQLiteOutbox(str(path), **options)


DEATHS: tuple[Callable[[], object], ...] = (
    lambda: os.kill(os.getpid(), signal.SIGKILL),
    lambda: os._exit(0),
    lambda: ctypes.string_at(0),
    os.abort,
    lambda: os.kill(os.getpid(), signal.SIGTERM),
)


def test_an_event_survives_its_process_however_it_dies(path: Path) -> None:
    appended: list[str] = []
    with locked(path):
        for end in DEATHS:
            appended += append_and_die(on(path), 60, end)

    found = stored(path, count=300)

    assert sorted(found) == sorted(appended)
    assert journals(path) == []


def test_a_burst_larger_than_a_segment_survives(path: Path) -> None:
    with locked(path):
        appended = append_and_die(on(path), 5_000)
        sizes = [file.stat().st_size for file in journals(path)]

    # Each is larger than the one before it: every file takes a descriptor.
    assert [size // SEGMENT_SIZE for size in sizes] == [1, 2]
    assert stored(path, count=5_000) == appended
    assert journals(path) == []


@pytest.mark.parametrize("when_full", ["refuse", "drop_oldest"])
def test_what_gave_way_in_the_journal_does_not_come_back(
    path: Path, when_full: str
) -> None:
    path.mkdir()  # nothing can be stored meanwhile
    appended = append_and_die(on(path, max_events=50, when_full=when_full), 300)
    path.rmdir()

    found = stored(path, count=50)

    # An event that is just being tried does not give way.
    assert len(found) == 50
    assert found == [name for name in appended if name in found]
    assert when_full == "drop_oldest" or found == appended[:50]


FLUSH_TWICE = """
import asyncio, os, sys
from contextlib import suppress
from moe_middleware import OutboxError, SQLiteOutbox
from tests.makers import event

outbox = SQLiteOutbox(sys.argv[1], synchronous=sys.argv[2], busy_timeout=0.1)
for _ in range(2):
    os.write(1, b".")
    outbox.append([event()])
    with suppress(OutboxError):
        asyncio.run(outbox.flush())
os._exit(0)
"""

SYNCED = re.compile(r"sync\(\d+<([^>]+)>")


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
@pytest.mark.parametrize(
    ("synchronous", "is_locked", "expected"),
    [
        ("normal", True, set()),
        ("full", False, {"outbox.db-wal"}),
        ("full", True, {"outbox.db.journal"}),
    ],
)
def test_what_was_flushed_is_on_the_disk_if_the_settings_say_so(
    path: Path, synchronous: str, is_locked: bool, expected: set[str]
) -> None:
    """The files that the kernel was asked to write to the disk."""
    trace = path.parent / "trace"
    strace = ["strace", "-fy", "-e", "trace=fsync,fdatasync,write", "-o", str(trace)]
    with locked(path) as unlock:
        if not is_locked:
            unlock()
        program = [sys.executable, "-c", FLUSH_TWICE, str(path), synchronous]
        ran = subprocess.run([*strace, *program], capture_output=True, check=False)
    if b"ptrace" in ran.stderr:
        pytest.skip("strace may not trace here")

    text = trace.read_text()
    synced = SYNCED.findall(text[text.rindex("write(1<") :])

    assert {
        re.sub("journal-.*", "journal", Path(one).name) for one in synced
    } == expected
    # The folder, which has the journal's name, only needs it once.
    assert f"<{path.parent}>" in text or "outbox.db.journal" not in expected


def test_what_a_process_left_that_died_before_it_made_the_file_is_shown(
    path: Path,
) -> None:
    path.mkdir()  # nothing can be stored meanwhile
    append_and_die(on(path), 7)
    path.rmdir()

    ran = run("outbox", "status", "--outbox", f"sqlite:///{path}")

    assert (ran.exit_code, ran.stdout.split()[3]) == (0, "7")


def test_the_journal_of_a_process_that_lives_is_left_alone(path: Path) -> None:
    appended, written = os.pipe()

    def live_on() -> None:
        SQLiteOutbox(str(path), busy_timeout=600).append([event("alive")])
        os.write(written, b".")
        signal.pause()

    with locked(path):
        living = in_a_child(live_on)
        assert os.read(appended, 1) == b"."
        # Stopped, so that it cannot store its event by itself either.
        os.kill(living, signal.SIGSTOP)
    sibling = SQLiteOutbox(str(path))
    before = asyncio.run(sibling.count()).waiting
    kept = journals(path)
    os.kill(living, signal.SIGKILL)
    os.waitpid(living, 0)
    for end in (appended, written):
        os.close(end)

    found = stored(path, count=1)
    sibling.close()

    assert (before, len(kept), len(found)) == (0, 1, 1)


def test_a_sibling_takes_over_while_it_goes_on(path: Path) -> None:
    sibling = SQLiteOutbox(str(path))
    asyncio.run(sibling.count())
    with locked(path):
        appended = append_and_die(on(path), 5)

    async def taken_over() -> list[str]:
        async with asyncio.timeout(PATIENCE):
            while not (await sibling.count()).waiting:
                await asyncio.sleep(0.05)
        return await customers(sibling)

    found = asyncio.run(taken_over())
    sibling.close()

    assert found == appended


FORK = """
import asyncio, ctypes, os, signal, sys
from moe_middleware import SQLiteOutbox
from tests.makers import event

outbox = SQLiteOutbox(sys.argv[1])
outbox.append([event("parent")])
asyncio.run(outbox.flush())
if sys.argv[2] == "python":
    fork = os.fork
else:
    # As uWSGI's: no hook is called, and no other thread runs.
    fork = ctypes.PyDLL(None).fork
    outbox.close()
for number in range(8):
    child = fork()
    if child == 0:
        outbox.append([event(f"child-{number}")])
        os._exit(0)
    os.waitpid(child, 0)
    outbox.append([event(f"parent-{number}")])
    if sys.argv[2] != "python":
        outbox.close()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("how", ["python", "unheard"])
def test_a_forked_childs_events_survive_it(path: Path, how: str) -> None:
    subprocess.run([sys.executable, "-c", FORK, path, how])

    found = stored(path, count=17)

    assert len(set(found)) == len(found) == 17
    assert journals(path) == []


APPEND_UNTIL_KILLED = """
import itertools, os, sys
from moe_middleware import SQLiteOutbox
from tests.makers import event

outbox = SQLiteOutbox(sys.argv[1])
for number in itertools.count():
    name = "%d-%d" % (os.getpid(), number)
    outbox.append([event(name)])
    os.write(1, name.encode() + b"\\n")
"""


def test_sigkill_under_load_loses_and_doubles_nothing(path: Path) -> None:
    appended: list[str] = []
    for number in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", APPEND_UNTIL_KILLED, str(path)],
            stdout=subprocess.PIPE,
        )
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(1 + 797 * number)]
        process.kill()
        lines += process.stdout.readlines()
        process.wait()
        process.stdout.close()
        appended += [line.decode().strip() for line in lines if line.endswith(b"\n")]

    found = stored(path, count=len(appended))

    assert set(appended) - set(found) == set()
    assert len(set(found)) == len(found)
    # One that was appended and not printed may be there, too.
    assert len(found) - len(appended) <= 3


def test_a_take_over_that_is_killed_is_taken_over(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with locked(path):
        appended = append_and_die(on(path), 12_000)
    for _ in range(2):
        taker = in_a_child(lambda: asyncio.run(SQLiteOutbox(str(path)).count()))
        while not waiting_in(path):
            pass
        os.kill(taker, signal.SIGKILL)
        os.waitpid(taker, 0)
    moved = waiting_in(path)

    assert stored(path, count=12_000) == appended
    # Events that an earlier process has moved are not logged again.
    moved_later = re.findall(r"journal_taken_over .* events=(\d+)", caplog.text)
    assert moved_later == ([str(12_000 - moved)] if moved < 12_000 else [])


def waiting_in(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("select waiting from state").fetchone()[0])


def test_what_was_moved_and_not_yet_marked_is_moved_once(path: Path) -> None:
    """The process ends between the commit and its mark in the journal."""
    with locked(path):
        outbox = SQLiteOutbox(str(path), busy_timeout=600)
        outbox.append([event() for _ in range(10)])
        [file] = journals(path)
        before = file.read_bytes()
    asyncio.run(outbox.flush())
    outbox.append([event()])
    asyncio.run(outbox.flush())
    outbox.close()
    file.write_bytes(before)

    assert len(stored(path, count=11)) == 11
    assert journals(path) == []


def test_a_journal_is_its_owners_and_ends_with_the_outbox(path: Path) -> None:
    outbox = SQLiteOutbox(str(path))
    outbox.append([event()])
    [file] = journals(path)
    mode = stat.S_IMODE(file.stat().st_mode)
    blocks = file.stat().st_blocks * 512
    outbox.close()

    assert mode == 0o600
    # All of it is allocated: no later write can find the disk full.
    assert blocks >= SEGMENT_SIZE
    assert journals(path) == []


def test_a_journal_of_another_version_is_left_alone(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = Path(f"{path}.journal-0123456789abcdef.1")
    other.write_bytes(b"moe-journal 2\0\0\n and what follows")

    outbox = SQLiteOutbox(str(path))
    asyncio.run(outbox.count())
    asyncio.run(outbox.count())
    outbox.close()

    assert journals(path) == [other]
    assert caplog.text.count("journal_unreadable") == 1


def test_a_journal_that_was_deleted_in_use_is_begun_anew(path: Path) -> None:
    outbox = SQLiteOutbox(str(path))
    outbox.append([event()])
    for file in journals(path):
        file.unlink()
    asyncio.run(outbox.flush())
    outbox.append([event()])
    begun = journals(path)
    outbox.close()

    assert len(begun) == 1
    assert len(stored(path, count=2)) == 2


def test_without_a_journal_events_wait_in_memory_and_the_log_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = SQLiteOutbox(
        str(tmp_path / "outbox.db"), journal=str(tmp_path / "missing" / "outbox")
    )
    for _ in range(20):
        outbox.append([event()])
        asyncio.run(outbox.flush())
    counted = asyncio.run(outbox.count())
    outbox.close()

    assert counted.waiting == 20
    assert caplog.text.count("journal_unavailable") == 1


@pytest.mark.skipif(not shutil.which("redis-server"), reason="needs redis-server")
def test_with_redis_away_an_event_survives_its_process(tmp_path: Path) -> None:
    prefix = str(tmp_path / "journals" / "outbox")
    Path(prefix).parent.mkdir()
    with redis_server(tmp_path, aof=True) as server:
        server.kill()
        open_one = partial(RedisOutbox, server.url, workspace_id="w", journal=prefix)
        append_and_die(open_one, 700)
        server.start()
        outbox = open_one()
        counted = asyncio.run(outbox.count())
        outbox.close()

    assert counted.waiting == 700
    assert os.listdir(Path(prefix).parent) == []


# --- the file --------------------------------------------------------------


@given(
    bodies=st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=8),
    before=st.lists(st.binary(min_size=1, max_size=60), max_size=8),
    is_mapped=st.booleans(),
)
def test_a_journal_cut_anywhere_has_the_records_before_the_cut_and_no_other(
    tmp_path_factory: pytest.TempPathFactory,
    bodies: list[bytes],
    before: list[bytes],
    is_mapped: bool,
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    segments: list[FileSegment] = []

    def new_segment(size: int) -> FileSegment:
        path = str(folder / f"{len(segments)}")
        segments.append(FileSegment(path, size, is_mapped=is_mapped))
        return segments[-1]

    journal = Journal("name", 1_000, new_segment)
    # Stored bytes from before stand behind the new ones.
    for body in before:
        journal.append(body, 1)
    journal.settle(len(journal.take(100, 100_000)))
    ends = []
    for body in bodies:
        journal.append(body, 1)
        ends.append(segments[0].end)
    data = (folder / "0").read_bytes()[: segments[0].end + 200]
    taken = [record.body for record in journal.take(100, 100_000)]
    journal.close()
    shutil.rmtree(folder)

    assert taken == bodies
    for cut in range(len(data) + 1):
        found = [record.body for record in records_in(data[:cut])]
        assert found == [
            body for body, end in zip(bodies, ends, strict=True) if end <= cut
        ]


def unmapped(path: Path) -> Journal:
    """Return a journal as it is on btrfs, or on another machine's disk."""

    def new_segment(size: int, error: OSError | None = None) -> Segment:
        if error is not None:
            return Segment(size)
        return FileSegment(str(path), size, is_mapped=False)

    return Journal("name", 1_000, new_segment)


def test_a_write_that_fails_goes_to_memory(path: Path) -> None:
    """As on a disk that is full though the space was allocated."""
    journal = unmapped(path)
    journal.append(b"before", 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, limits[1]))
    try:
        journal.append(b"meanwhile", 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    journal.append(b"after", 1)

    records = journal.take(10, 1_000)
    journal.settle(len(records))

    bodies = [b"before", b"meanwhile", b"after"]
    assert [record.body for record in records] == bodies
    assert [record.sequence for record in records] == [1, 2, 3]
    assert not path.exists()


@pytest.mark.parametrize("when_full", ["refuse", "drop_oldest"])
def test_what_is_cut_off_such_a_file_is_counted(path: Path, when_full: str) -> None:
    journal = unmapped(path)
    for _ in range(3):
        journal.append(b"lost", 2)
    os.truncate(path, 0)
    if when_full == "drop_oldest":
        journal.drop_oldest()

    records = journal.take(10, 1_000)
    journal.settle(len(records))
    journal.append(b"next", 1)

    assert (journal.missed, journal.unsaved) == (6, 1)
    assert [one.body for one in journal.take(10, 1_000)] == [b"next"]


@pytest.mark.skipif(not shutil.which("mkfs.btrfs"), reason="needs btrfs-progs")
def test_on_a_full_btrfs_no_write_ends_the_process(tmp_path: Path) -> None:
    image, disk = tmp_path / "image", tmp_path / "disk"
    disk.mkdir()
    with image.open("wb") as file:
        file.truncate(120_000_000)
    if any(
        subprocess.run(command, capture_output=True, check=False).returncode
        for command in (
            ["mkfs.btrfs", "--mixed", str(image)],
            ["mount", "-o", "loop", str(image), str(disk)],
        )
    ):
        pytest.skip("btrfs cannot be mounted here")
    try:
        ended = subprocess.run(
            [sys.executable, "-c", REWRITE, str(disk)], capture_output=True, check=False
        )
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)

    assert (ended.returncode, ended.stdout) == (0, b"1000 of 1000\n")


REWRITE = """
import os, sys
from moe_middleware.outbox.journal_files import JournalFiles

journal = JournalFiles(sys.argv[1] + "/outbox.db").new(10_000)
journal.append(b"." * 900_000, 1)
journal.sync()
with open(sys.argv[1] + "/ballast", "wb", buffering=0) as ballast:
    for size in (1_000_000, 4_096):
        try:
            while ballast.write(b"." * size):
                pass
        except OSError:
            pass
journal.settle(len(journal.take(1, 1)))
found = 0
for _ in range(10):
    for _ in range(100):
        journal.append(b"." * 9_000, 1)
    journal.sync()
    records = journal.take(1_000, 2_000_000)
    found += len(records)
    journal.settle(len(records))
print(found, "of 1000")
"""
