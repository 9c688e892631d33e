"""The sandbox's SQLite tables: events, and running counts of them.

Triggers update the counts in the transaction of the insert, so that they are always
right, and reports need not read the events (except for a chart in minutes).
"""

from __future__ import annotations

import os
import sqlite3
import tempfile

MEMORY = ":memory:"

BUSY_TIMEOUT = 5.0
"""Seconds that a transaction waits for another process's."""

CACHE_KB = 16 * 1024
"""The page cache in kilobytes; further pages are on the disk."""

QUARTER = 900
"""Seconds of the smallest bucket of time that is counted.

Hours and days of all timezones begin at a quarter of an hour of UTC."""

CHECKPOINT_AFTER = 8_000
"""Pages in the log before a checkpoint, which waits for the disk.

Rare and long checkpoints (about 30 ms) are better: 99 of 100 calls do not wait at
all."""

APPLICATION_ID = 0x4D6F4553
SCHEMA_VERSION = 2

ARRIVAL = """
create view arrival as
select uuid, clicked, customer_id, body as context, cid_token, audience_id,
    variation_id, b_id, event_time, received_at, platform, user_timezone_offset,
    user_attributes, via, device_uuid
from event join context on context.id = context_id;

create trigger arrived instead of insert on arrival begin
    insert into profile (customer_id) values (new.customer_id) on conflict do nothing;
    insert into context (body, cid_token, audience_id, variation_id)
    values (new.context, new.cid_token, new.audience_id, new.variation_id)
    on conflict do nothing;
    insert into event (
        uuid, clicked, customer_id, context_id, b_id, event_time, received_at,
        platform, user_timezone_offset, user_attributes, via, device_uuid
    )
    values (
        new.uuid, new.clicked, new.customer_id,
        (select id from context where body = new.context),
        new.b_id, new.event_time, new.received_at,
        new.platform, new.user_timezone_offset, new.user_attributes,
        -- A process that opened the file before version 2 names no way.
        coalesce(new.via, 'api'), new.device_uuid
    )
    on conflict do nothing;
end;
"""

CREATE = f"""
create table profile (
    id integer primary key,
    customer_id text not null unique
);
create table profile_attribute (
    customer_id text not null,
    name text not null,
    value text not null,
    primary key (customer_id, name)
) without rowid;

-- An experience_context as it came back. Thousands of events share one.
create table context (
    id integer primary key,
    body text not null unique,
    cid_token text not null,
    audience_id text not null,
    variation_id text not null
);
create table event (
    id integer primary key,
    uuid text not null unique,
    clicked integer not null,
    customer_id text not null,
    context_id integer not null references context,
    b_id text,
    event_time integer not null,
    received_at real not null,
    platform text not null,
    user_timezone_offset integer,
    user_attributes text,
    via text not null,
    device_uuid text
);

-- Who has seen (clicked = 0) or clicked (clicked = 1) what.
create table actor (
    cid_token text not null,
    clicked integer not null,
    customer_id text not null,
    audience_id text not null,
    variation_id text not null,
    primary key (cid_token, clicked, customer_id, audience_id, variation_id)
) without rowid;

-- Impressions (clicked = 0) and clicks (clicked = 1) of a variation. Customers are
-- counted at three levels: new to the variation, to its audience, to the experience.
-- converted: customers who with this action have both seen and clicked.
create table tally (
    cid_token text not null,
    audience_id text not null,
    variation_id text not null,
    clicked integer not null,
    actions integer not null,
    customers integer not null,
    audience_customers integer not null,
    experience_customers integer not null,
    converted integer not null,
    primary key (cid_token, audience_id, variation_id, clicked)
) without rowid;
create table button (
    cid_token text not null,
    audience_id text not null,
    variation_id text not null,
    b_id text not null,
    clicks integer not null,
    primary key (cid_token, audience_id, variation_id, b_id)
) without rowid;
create table quarter (
    quarter integer not null,
    cid_token text not null,
    impressions integer not null,
    clicks integer not null,
    primary key (quarter, cid_token)
) without rowid;

{ARRIVAL}create trigger counted after insert on event begin
    insert into tally
    select cid_token, audience_id, variation_id, new.clicked, 1,
        not exists (
            select 1 from actor a where a.cid_token = c.cid_token
            and a.clicked = new.clicked and a.customer_id = new.customer_id
            and a.audience_id = c.audience_id and a.variation_id = c.variation_id
        ),
        not exists (
            select 1 from actor a where a.cid_token = c.cid_token
            and a.clicked = new.clicked and a.customer_id = new.customer_id
            and a.audience_id = c.audience_id
        ),
        not exists (
            select 1 from actor a where a.cid_token = c.cid_token
            and a.clicked = new.clicked and a.customer_id = new.customer_id
        ),
        not exists (
            select 1 from actor a where a.cid_token = c.cid_token
            and a.clicked = new.clicked and a.customer_id = new.customer_id
            and a.audience_id = c.audience_id and a.variation_id = c.variation_id
        )
        and exists (
            select 1 from actor a where a.cid_token = c.cid_token
            and a.clicked = 1 - new.clicked and a.customer_id = new.customer_id
            and a.audience_id = c.audience_id and a.variation_id = c.variation_id
        )
    from context c where c.id = new.context_id
    on conflict do update set
        actions = actions + 1,
        customers = customers + excluded.customers,
        audience_customers = audience_customers + excluded.audience_customers,
        experience_customers = experience_customers + excluded.experience_customers,
        converted = converted + excluded.converted;
    insert into actor
    select cid_token, new.clicked, new.customer_id, audience_id, variation_id
    from context where id = new.context_id
    on conflict do nothing;
    insert into button
    select cid_token, audience_id, variation_id, new.b_id, 1
    from context where id = new.context_id and new.clicked and new.b_id is not null
    on conflict do update set clicks = clicks + 1;
    insert into quarter
    select new.event_time / {QUARTER}, cid_token, 1 - new.clicked, new.clicked
    from context where id = new.context_id
    on conflict do update set
        impressions = impressions + excluded.impressions,
        clicks = clicks + excluded.clicks;
end;

pragma application_id = {APPLICATION_ID};
pragma user_version = {SCHEMA_VERSION};
"""

# Migrations from each older version of the file.
_UPGRADES = {
    1: f"""
drop view arrival;
alter table event add column via text not null default 'api';
alter table event add column device_uuid text;
{ARRIVAL}
pragma user_version = 2;
""",
}

TABLES = (
    *("profile", "profile_attribute", "context", "event"),
    *("actor", "tally", "button", "quarter"),
)


class StoreError(Exception):
    """The file of events cannot be used; the text has the file and the reason."""


def open_tables(path: str) -> sqlite3.Connection:
    """Return a connection for all threads, with all tables.

    In a file, a commit survives a crash of the process at once, and one of the machine
    after the next checkpoint.

    Args:
        path: The file, created if it is missing; ``:memory:`` for tables that end with
            the connection, and may use a temporary file.

    Raises:
        StoreError: The file cannot be used.
    """
    try:
        db = sqlite3.connect(
            _spillable() if path == MEMORY else path,
            timeout=BUSY_TIMEOUT,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            _prepare(db, path)
        except BaseException:
            db.close()
            raise
    except sqlite3.Error as error:
        raise StoreError(
            f"{path} cannot keep the events: {error}: name a file that may be written."
        ) from error
    return db


def _prepare(db: sqlite3.Connection, path: str) -> None:
    # First of all: a file of another program must stay as it is.
    _check(db, path)
    db.execute(f"pragma cache_size = -{CACHE_KB}")
    if path == MEMORY:
        # Nothing of it would survive a crash anyway.
        db.execute("pragma journal_mode = memory")
        db.execute("pragma synchronous = off")
    else:
        db.execute("pragma journal_mode = wal")
        db.execute("pragma synchronous = normal")
        db.execute(f"pragma wal_autocheckpoint = {CHECKPOINT_AFTER}")
    # Of two processes that create a file at once, the second finds the tables.
    db.execute("begin immediate")
    script = CREATE
    if not _is_empty(db):
        versions = range(_version(db), SCHEMA_VERSION)
        script = "".join(_UPGRADES[version] for version in versions)
    # executescript would commit first, and let another process in.
    for statement in _statements(script):
        db.execute(statement)
    db.execute("commit")


def _check(db: sqlite3.Connection, path: str) -> None:
    if _is_empty(db):
        return
    (application,) = db.execute("pragma application_id").fetchone()
    if application != APPLICATION_ID or not 0 < _version(db) <= SCHEMA_VERSION:
        raise StoreError(
            f"{path} is no file of this version's sandbox: name another, or remove it."
        )


def _version(db: sqlite3.Connection) -> int:
    (version,) = db.execute("pragma user_version").fetchone()
    return int(version)


def _is_empty(db: sqlite3.Connection) -> bool:
    return db.execute("select 1 from sqlite_master").fetchone() is None


def _statements(script: str) -> list[str]:
    statements, text = [], ""
    for line in script.splitlines(keepends=True):
        text += line
        if sqlite3.complete_statement(text):
            statements.append(text)
            text = ""
    return statements


def _spillable() -> str:
    """Return the name of a database in memory, with a temporary file if possible."""
    try:
        directory = tempfile.gettempdir()
    except FileNotFoundError:
        return MEMORY
    return "" if os.access(directory, os.W_OK) else MEMORY
