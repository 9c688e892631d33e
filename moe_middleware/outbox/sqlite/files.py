"""A SQLite outbox's file: creates, migrates, refuses or sets aside a file."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence

from ...models.errors import OutboxError
from ..contract import Synchronous

logger = logging.getLogger(__name__)

APPLICATION_ID = 0x4D6F4562
"""Marks a file as our outbox, in the header of the SQLite file."""

SCHEMA_VERSION = 5

NEEDED_SQLITE = (3, 35, 0)

BUSY_SLICE = 0.05
"""Seconds that SQLite itself waits for another process's transaction. The caller tries
again, and releases its locks in between."""

# The notes of processes.
PROCESSES = "create table process (name text primary key, note blob not null)"

# The last stored record of each process's journal, so that no record is stored twice.
JOURNALS = "create table journal (name text primary key, stored integer not null)"

# The mark of the workspace of its events and dead letters; empty where it is not known,
# as in files of older versions: the next workspace that writes gets the file.
OWNER = "alter table state add column workspace text not null default ''"

CREATE = (
    # Ids are never used again: an ack may arrive long after its lease expired.
    """
    create table event (id integer primary key autoincrement, body text not null)
    """,
    # A table of its own, so that a claim does not rewrite the pages of events.
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
    # Kept up to date, because counting a million events takes seconds.
    """
    create table state (
        one integer primary key check (one = 1),
        waiting integer not null,
        dead integer not null,
        seen_at real not null
    )
    """,
    "insert into state values (1, 0, 0, 0)",
    OWNER,
    PROCESSES,
    JOURNALS,
)
FROM_VERSION_1 = (
    "drop index event_claimable_at",
    "alter table event rename to old_event",
    "alter table dead_letter rename to old_dead_letter",
    *CREATE,
    "insert into event (id, body) select id, body from old_event order by id",
    # Version 1 numbered dead letters separately.
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
    2: (PROCESSES, JOURNALS, OWNER),
    3: (JOURNALS, OWNER),
    4: (OWNER,),
}
"""The statements that migrate a file of each version."""

# One statement, because another process may be creating the file just now.
DESCRIBE = """
select (select user_version from pragma_user_version),
    (select application_id from pragma_application_id),
    (select count(*) from sqlite_master)
"""


class OutboxFile(sqlite3.Connection):
    """An open file.

    Attributes:
        number: How many other files this process had at the same path before. The ids
            of their events mean other events in this one, or none.
    """

    number = 0


def create(path: str) -> None:
    """Create a missing file, empty, so that its identity is known before it is opened.

    An existing one is not opened: closing it would release SQLite's locks.
    """
    with contextlib.suppress(OSError):  # opening it says why
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))


def open_file(path: str, *, synchronous: Synchronous) -> OutboxFile:
    """Open an outbox's file; create a missing one, and migrate an older one.

    Raises:
        OutboxError: A newer version or another program wrote the file; it is unchanged.
        sqlite3.Error: It cannot be opened, or is corrupt.
    """
    if sqlite3.sqlite_version_info < NEEDED_SQLITE:
        raise OutboxError(
            f"SQLite {sqlite3.sqlite_version} is too old for an outbox: 3.35 or later "
            "is needed"
        )
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        # It may be a volume that is not mounted yet, so it is not created.
        raise OutboxError(f"{path}: there is no directory {folder}: make it")
    # The writer thread opens it, and a thread that forks closes it.
    db = sqlite3.connect(
        path,
        timeout=BUSY_SLICE,
        isolation_level=None,
        check_same_thread=False,
        factory=OutboxFile,
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
    """Check that a file is our outbox, of this version or an older one.

    Raises:
        OutboxError: It is not.
    """
    if is_up_to_date(db):
        return
    version, application, tables = db.execute(DESCRIBE).fetchone()
    foreign = application not in (0, APPLICATION_ID) or (version == 0 and tables)
    if foreign:
        raise OutboxError(
            f"{path}: this is another program's database: name a new file",
            may_end=False,
        )
    if version > SCHEMA_VERSION:
        raise OutboxError(
            f"{path}: a newer moe_middleware wrote this file (schema {version}, this "
            f"one knows {SCHEMA_VERSION}): upgrade this one, or name another file",
            may_end=False,
        )


def is_up_to_date(db: sqlite3.Connection) -> bool:
    """Whether an outbox's file is of this version, not of an older one."""
    return _version(db) == SCHEMA_VERSION


def claim_for(db: sqlite3.Connection, workspace: str, path: str) -> None:
    """Make sure, in a transaction that writes, that a file is a workspace's.

    A relay delivers what is in its file with its own workspace's key, so a file has
    events of one workspace at a time. One without events goes to the next workspace.

    Args:
        db: The file.
        workspace: Its mark; empty for commands on a file by its path.
        path: The file's path.

    Raises:
        OutboxError: It has events or dead letters of another workspace.
    """
    owner, waiting, dead = db.execute(
        "select workspace, waiting, dead from state"
    ).fetchone()
    if owner == workspace:
        return
    if not owner or not waiting + dead:
        db.execute("update state set workspace = ?", (workspace,))
    elif workspace:
        raise OutboxError(
            f"{path}: it has events of another workspace (waiting {waiting}, dead "
            f"letters {dead}): give this workspace a file of its own in events.outbox, "
            "or deliver or purge the other's first"
        )


def _bring_up_to_date(db: sqlite3.Connection, path: str) -> None:
    with transaction(db):
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


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Run a transaction that writes; an exception takes it back."""
    db.execute("begin immediate")
    try:
        yield
    except BaseException:
        db.rollback()
        raise
    db.commit()


# --- failures --------------------------------------------------------------

FileIdentity = tuple[int, int] | None
"""Device and inode, which identify a file under any name; None for no file."""


def identity_of(path: str) -> FileIdentity:
    """Return the identity of the file at this path."""
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


def is_forbidden(error: BaseException, path: str) -> bool:
    """Whether this user may not write the file, or it is on a read-only disk."""
    if _code(error) not in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
        return False
    return not all(os.access(one, os.W_OK) for one in (path, os.path.dirname(path)))


def is_corrupt(error: BaseException) -> bool:
    """Whether the file is no database, or corrupt."""
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _code(error: BaseException) -> int | None:
    """Return SQLite's primary result code."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def set_aside(path: str, *, corrupt: FileIdentity) -> None:
    """Rename a corrupt file and its side files, so that a new one can be created.

    Args:
        path: Its path.
        corrupt: The corrupt file: if another process has set it aside, the file at
            this path is a new one.
    """
    with _only_one_process(path):
        if corrupt is None or identity_of(path) != corrupt:
            return
        kept = f"{path}.corrupt-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
        while os.path.exists(kept):
            kept += "x"
        # The log comes first: a new file would read it.
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
