"""Files that were deleted or renamed while open: moves what they hold to the next."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Mapping

from .files import FileIdentity, claim_for, identity_of, transaction

MOVED_AT_ONCE = 1_000
"""Events per transaction, so that other processes can write in between."""

NEXT_ID = """
insert into sqlite_sequence (name, seq)
select 'event', 0 where not exists (select 1 from sqlite_sequence where name = 'event')
"""
LAST_ID = "select seq from sqlite_sequence where name = 'event'"
GIVEN = "update sqlite_sequence set seq = ? where name = 'event'"


def move(old: sqlite3.Connection, new: sqlite3.Connection, path: str) -> int:
    """Move all events and dead letters from one file to another; return how many.

    They get new ids, as the new file may have other events with theirs. If several
    processes have the old file open, each event is moved once.

    Args:
        old: The deleted or renamed file.
        new: The file that has its path now.
        path: The path.

    Raises:
        OutboxError: The new file has events of another workspace.
    """
    moved = 0
    (owner,) = old.execute("select workspace from state").fetchone()
    for table, columns, count in (
        ("event", "body", "waiting"),
        ("dead_letter", "body, reason, attempts, buried_at", "dead"),
    ):
        choose = f"select rowid, {columns} from {table} order by rowid limit ?"
        places = ", ".join("?" * (columns.count(",") + 2))
        insert = f"insert into {table} (id, {columns}) values ({places})"
        tally = f"update state set {count} = {count} + ?"
        while True:
            with transaction(old):
                rows = old.execute(choose, (MOVED_AT_ONCE,)).fetchall()
                if not rows:
                    break
                with transaction(new):
                    claim_for(new, owner, path)
                    new.execute(NEXT_ID)
                    (last,) = new.execute(LAST_ID).fetchone()
                    numbered = enumerate(rows, start=last + 1)
                    new.executemany(insert, [(id, *row[1:]) for id, row in numbered])
                    new.execute(GIVEN, (last + len(rows),))
                    new.execute(tally, (len(rows),))
                old.execute(f"delete from {table} where rowid <= ?", (rows[-1][0],))
                old.execute(tally, (-len(rows),))
            moved += len(rows)
    return moved


def side_files(path: str) -> dict[str, FileIdentity]:
    """Return the identities of SQLite's log and index of a file, by suffix."""
    return {suffix: identity_of(path + suffix) for suffix in ("-wal", "-shm")}


def on_disk_of(
    file: FileIdentity, others: Mapping[str, FileIdentity]
) -> Mapping[str, FileIdentity]:
    """Return those of some files that are on the disk of a file."""
    disk = file and file[0]
    return {name: one for name, one in others.items() if one and one[0] == disk}


def forget_side_files(path: str, opened: Mapping[str, FileIdentity]) -> None:
    """Delete the log of a deleted or renamed file: a new file would read it.

    Args:
        path: The path.
        opened: The old file's side files, by suffix.
    """
    for suffix, identity in opened.items():
        if identity is not None and identity_of(path + suffix) == identity:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path + suffix)
