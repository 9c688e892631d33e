"""A SQLite outbox's file: made, migrated, refused, or set aside when corrupt."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from ...models.errors import OutboxError

logger = logging.getLogger(__name__)

Synchronous = Literal["normal", "full"]

APPLICATION_ID = 0x4D6F4562
"""Marks a file as an outbox of ours: SQLite keeps it in the file's header."""

SCHEMA_VERSION = 4

NEEDED_SQLITE = (3, 35, 0)

BUSY_SLICE = 0.05
"""How long SQLite itself waits for another process's transaction, in seconds. Its
caller tries again, and releases its locks in between."""

# What processes note of themselves.
PROCESSES = "create table process (name text primary key, note blob not null)"

# How far the journal of each process is stored: what is moved twice counts once.
JOURNALS = "create table journal (name text primary key, stored integer not null)"

CREATE = (
    # An id is never given again: an ack may come long after its lease ran out.
    """
    create table event (id integer primary key autoincrement, body text not null)
    """,
    # Apart from the events, so that a claim does not write their pages anew.
    """
    create table lease (
        id integer primary key,
        customer integer not null,
        claimable_at real not null,
        attempts integer not null,
        relay text not null
    )
    """,
    """
    create table dead_letter (
        id integer primary key,
        body text not null,
        reason text not null,
        attempts integer not null,
        buried_at real not null
    )
    """,
    # Counted as they come and go: to count a million events takes seconds.
    """
    create table state (
        one integer primary key check (one = 1),
        waiting integer not null,
        dead integer not null,
        seen_at real not null
    )
    """,
    "insert into state values (1, 0, 0, 0)",
    PROCESSES,
    JOURNALS,
)
FROM_VERSION_1 = (
    "drop index event_claimable_at",
    "alter table event rename to old_event",
    "alter table dead_letter rename to old_dead_letter",
    *CREATE,
    "insert into event (id, body) select id, body from old_event order by id",
    # Its dead letters were numbered on their own.
    """
    insert into dead_letter (id, body, reason, attempts, buried_at)
    select id + (select coalesce(max(id), 0) from old_event), body, reason, 0, buried_at
    from old_dead_letter
    """,
    "delete from sqlite_sequence",
    """
    insert into sqlite_sequence (name, seq) select 'event', max(
        (select coalesce(max(id), 0) from event),
        (select coalesce(max(id), 0) from dead_letter)
    )
    """,
    """
    update state set waiting = (select count(*) from event),
        dead = (select count(*) from dead_letter)
    """,
    "drop table old_event",
    "drop table old_dead_letter",
)
UPDATES: Mapping[int, Sequence[str]] = {
    0: CREATE,
    1: FROM_VERSION_1,
    2: (PROCESSES, JOURNALS),
    3: (JOURNALS,),
}
"""What brings a file of each version up to date."""

# In one statement: another process may be making the file at this moment.
DESCRIBE = """
select (select user_version from pragma_user_version),
    (select application_id from pragma_application_id),
    (select count(*) from sqlite_master)
"""


def open_file(path: str, *, synchronous: Synchronous) -> sqlite3.Connection:
    """Open an outbox's file; make it where it is missing, and migrate an older one.

    Raises:
        OutboxError: It is not ours to write: a newer version's, or another program's.
            Nothing in it was changed.
        sqlite3.Error: It cannot be opened, or is corrupt.
    """
    if sqlite3.sqlite_version_info < NEEDED_SQLITE:
        raise OutboxError(
            f"SQLite {sqlite3.sqlite_version} is too old for an outbox: 3.35 or later "
            "is needed"
        )
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        # Not made: it may be a volume that is not mounted yet.
        raise OutboxError(f"{path}: there is no directory {folder}: make it")
    # Opened by the writer thread, and closed by whichever thread forks.
    db = sqlite3.connect(
        path, timeout=BUSY_SLICE, isolation_level=None, check_same_thread=False
    )
    try:
        check_version(db, path)
        db.execute("pragma journal_mode = wal")
        db.execute(f"pragma synchronous = {synchronous}")
        if _version(db) < SCHEMA_VERSION:
            _bring_up_to_date(db, path)
    except BaseException:
        db.close()
        raise
    return db


def check_version(db: sqlite3.Connection, path: str) -> None:
    """See that a file is ours and no newer than we are.

    Raises:
        OutboxError: It is not.
    """
    if _version(db) == SCHEMA_VERSION:
        return
    version, application, tables = db.execute(DESCRIBE).fetchone()
    foreign = application not in (0, APPLICATION_ID) or (version == 0 and tables)
    if foreign:
        raise OutboxError(
            f"{path}: this is another program's database: name a new file"
        )
    if version > SCHEMA_VERSION:
        raise OutboxError(
            f"{path}: a newer moe_middleware wrote this file (schema {version}, this "
            f"one knows {SCHEMA_VERSION}): upgrade this one, or name another file"
        )


def _bring_up_to_date(db: sqlite3.Connection, path: str) -> None:
    with _transaction(db):
        # Another process may have been quicker.
        check_version(db, path)
        version = _version(db)
        if version < SCHEMA_VERSION:
            for statement in UPDATES[version]:
                db.execute(statement)
            db.execute(f"pragma application_id = {APPLICATION_ID}")
            db.execute(f"pragma user_version = {SCHEMA_VERSION}")
    if 0 < version < SCHEMA_VERSION:
        logger.info("outbox_migrated outbox=%s to=%d", path, SCHEMA_VERSION)


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("pragma user_version").fetchone()[0])


# --- a file that was deleted or renamed while it was open ------------------

MOVED_AT_ONCE = 1_000
"""Events moved in one transaction: other processes write in between."""

NEXT_ID = """
insert into sqlite_sequence (name, seq)
select 'event', 0 where not exists (select 1 from sqlite_sequence where name = 'event')
"""
NEVER_GIVEN_AGAIN = "update sqlite_sequence set seq = max(seq, ?) where name = 'event'"
LAST_ID = "select coalesce(max(seq), 0) from sqlite_sequence where name = 'event'"


def move(old: sqlite3.Connection, new: sqlite3.Connection) -> int:
    """Move all events and dead letters from one file to another; return how many.

    Ids of the old file are not given again in the new one: a relay may still ack them.
    Processes that have the same old file open move each event once.

    Args:
        old: A file that has lost its name, open.
        new: The one that has the name now.
    """
    moved = 0
    (last,) = old.execute(LAST_ID).fetchone()
    with _transaction(new):
        new.execute(NEXT_ID)
        new.execute(NEVER_GIVEN_AGAIN, (last,))
    for table, columns, count in (
        ("event", "body", "waiting"),
        ("dead_letter", "id, body, reason, attempts, buried_at", "dead"),
    ):
        choose = f"select rowid, {columns} from {table} order by rowid limit ?"
        places = ", ".join("?" * (columns.count(",") + 1))
        insert = f"insert into {table} ({columns}) values ({places})"
        tally = f"update state set {count} = {count} + ?"
        while True:
            with _transaction(old):
                rows = old.execute(choose, (MOVED_AT_ONCE,)).fetchall()
                if not rows:
                    break
                with _transaction(new):
                    new.executemany(insert, [row[1:] for row in rows])
                    new.execute(tally, (len(rows),))
                old.execute(f"delete from {table} where rowid <= ?", (rows[-1][0],))
                old.execute(tally, (-len(rows),))
            moved += len(rows)
    return moved


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("begin immediate")
    try:
        yield
    except BaseException:
        db.rollback()
        raise
    db.commit()


def forget_side_files(path: str, opened: Mapping[str, FileIdentity]) -> None:
    """Delete the log of a file that has lost its name: a new file would read it.

    Args:
        path: The name.
        opened: Which files were the old one's, by their suffix.
    """
    for suffix, identity in opened.items():
        if identity is not None and identity_of(path + suffix) == identity:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path + suffix)


# --- what may be wrong with a file -----------------------------------------

FileIdentity = tuple[int, int] | None
"""Device and inode: which file it is, whatever its name; None for no file."""


def identity_of(path: str) -> FileIdentity:
    """Return which file has this name now."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_busy(error: BaseException) -> bool:
    """Whether another process holds the file's lock."""
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_full(error: BaseException) -> bool:
    """Whether the disk has no room for more."""
    return _code(error) == sqlite3.SQLITE_FULL


def is_corrupt(error: BaseException) -> bool:
    """Whether the file is no database, or no longer a sound one."""
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _code(error: BaseException) -> int | None:
    """Return SQLite's primary result code."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def set_aside(path: str, *, corrupt: FileIdentity) -> None:
    """Rename a corrupt file and what belongs to it, so that a new one can begin.

    Args:
        path: Its name.
        corrupt: Which file was found to be corrupt: another process may have set it
            aside, and the one of this name may be new.
    """
    with _only_one_process(path):
        if corrupt is None or identity_of(path) != corrupt:
            return
        kept = f"{path}.corrupt-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
        while os.path.exists(kept):
            kept += "x"
        # The file itself comes last: beside a new one, an old log would be read.
        for suffix in ("-wal", "-shm", ""):
            with contextlib.suppress(FileNotFoundError):
                os.rename(path + suffix, kept + suffix)
    logger.error(
        "outbox_corrupt outbox=%s kept_as=%s: its events are not delivered; what can "
        "be read of them: sqlite3 FILE .recover",
        path,
        kept,
    )


@contextlib.contextmanager
def _only_one_process(path: str) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # pragma: no cover - no such locks on Windows
        yield
        return
    folder = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
