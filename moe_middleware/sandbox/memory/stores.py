"""Stores the sandbox's events and profiles in SQLite.

A call needs one statement, or three if it updates attributes. That takes about 0.1 ms,
in memory and in a file, so it runs on the event loop; only ``after`` awaits.
Thread-safe; several processes may share a file.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypedDict, Unpack
from weakref import WeakSet

import orjson

from ...concurrency.fork_hooks import register_fork_hooks
from ..decisions.visitors import Visitor
from ..protocol.events import ACTIONS, Element
from ..protocol.fetches import Fetch
from ..workspace.workspace import Customer, Workspace
from .known import Known
from .queries import (
    ARRIVE,
    COUNT,
    EVENTS,
    LEARN,
    PROFILE,
    PROFILES,
    attribute_rows,
    event_rows,
    plain,
    to_json,
)
from .tables import MEMORY, TABLES, open_tables
from .waiters import Waiter

CHUNK = 1_000
"""Events per statement, so that others need not wait long for the lock."""

LOOK_AGAIN_AFTER = 1.0
"""Seconds until another process's events are noticed."""


class Filters(TypedDict, total=False):
    """The actions to look for.

    Attributes:
        action: One of ``events.ACTIONS``, by the API or by the Web SDK.
        variation_id: Actions of the variation with this id, in any audience.
        b_id: Clicks on this element.
    """

    experience_key: str | None
    action: str | None
    customer_id: str | None
    variation_id: str | None
    b_id: str | None


_CONDITIONS = {
    "experience_key": "cid_token = :cid_token",
    "action": f"clicked = (:action = '{ACTIONS[1]}')",
    "customer_id": "customer_id = :customer_id",
    "variation_id": "variation_id = :variation_id",
    "b_id": "clicked and b_id = :b_id",
}


class Store:
    """Keeps events and profiles until ``reset``, or until the file or the process ends.

    Args:
        path: The file, created if it is missing; ``:memory:`` for none.

    Raises:
        StoreError: The file cannot be used.
    """

    def __init__(self, path: str = MEMORY, workspace: Workspace | None = None) -> None:
        self.path = path
        self.use(workspace or Workspace())
        self._waiting: set[Waiter] = set()
        self._lock = threading.RLock()
        self._db = open_tables(path)
        _stores.add(self)

    def use(self, workspace: Workspace) -> None:
        """Use another workspace; events and profiles stay."""
        self._workspace = workspace
        self._known = Known(workspace)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    # Tests seldom close a sandbox, and Python warns of a connection left open.
    def __del__(self) -> None:
        if db := getattr(self, "_db", None):
            db.close()

    # --- writing -------------------------------------------------------------

    def record(self, elements: Iterable[Element], received_at: float) -> None:
        """Store the actions of one call, received at a time in unix seconds."""
        # Rows are made before the lock is taken, so that others wait less.
        elements = tuple(elements)
        events = [row for one in elements for row in event_rows(one, received_at)]
        attributes = [row for one in elements for row in attribute_rows(one)]
        with self._lock, self._transaction(len(attributes)) as db:
            db.execute(ARRIVE, {"events": to_json(events)})
            if attributes:
                db.execute(LEARN, {"attributes": to_json(attributes)})
        self._wake()

    def reset(self) -> None:
        """Delete all events and profiles."""
        with self._lock, self._transaction(True) as db:
            for table in TABLES:
                db.execute(f"delete from {table}")
        self._wake()

    # --- who is who ----------------------------------------------------------

    def visitor(self, fetch: Fetch) -> Visitor:
        """Return the visitor of a fetch."""
        customer = self._find_customer(fetch)
        anonymous = fetch.customer_id or fetch.visitor_id or ""
        return Visitor(
            user_id=customer.customer_id if customer else anonymous,
            attributes=customer.attributes if customer else None,
            session=fetch.session,
        )

    def profile(self, customer_id: str) -> Customer | None:
        """Return a customer with the current attributes; None for an unknown one."""
        with self._lock:
            row = self._db.execute(PROFILE, (plain(customer_id),)).fetchone()
        known = self._known.customers.get(customer_id)
        if row is None:
            return known
        known = known or Customer(customer_id=customer_id)
        return replace(known, attributes={**known.attributes, **orjson.loads(row[0])})

    def profiles(self, *, limit: int | None = None) -> list[Customer]:
        """Return the workspace's customers, then the others, the oldest first."""
        known = list(self._known.customers)[:limit]
        values = {
            "but": to_json(list(self._known.customers)),
            "limit": -1 if limit is None else limit - len(known),
        }
        with self._lock:
            (others,) = self._db.execute(PROFILES, values).fetchone()
        return [
            *(self.profile(one) or Customer(customer_id=one) for one in known),
            *(
                Customer(customer_id=customer_id, attributes=attributes)
                for customer_id, attributes in orjson.loads(others)
            ),
        ]

    def _find_customer(self, fetch: Fetch) -> Customer | None:
        if fetch.customer_id and (found := self.profile(fetch.customer_id)):
            return found
        if not self._workspace.identity_resolution:
            return None
        customer_id = self._known.find(fetch.user_identifiers)
        return None if customer_id is None else self.profile(customer_id)

    # --- events --------------------------------------------------------------

    def events(
        self,
        *,
        since: int = 0,
        limit: int | None = None,
        newest_first: bool = False,
        **filters: Unpack[Filters],
    ) -> list[dict[str, Any]]:
        """Return stored actions.

        Args:
            since: Start after this id. Ids count from 1, without gaps, and again after
                each reset.
            filters: The actions to return; None does not filter.
        """
        where, values = self._where(filters)
        # The bound that advances from chunk to chunk.
        moving = "below" if newest_first else "since"
        values |= {"since": since, "below": 2**62}
        query = EVENTS.format(where=where, order="desc" if newest_first else "")
        found: list[dict[str, Any]] = []
        while limit is None or len(found) < limit:
            wanted = CHUNK if limit is None else min(CHUNK, limit - len(found))
            with self._lock:
                (text,) = self._db.execute(query, values | {"limit": wanted}).fetchone()
            chunk = orjson.loads(text)
            found += chunk
            if len(chunk) < wanted:
                break
            values[moving] = chunk[-1]["id"]
        for event in found:
            event["experience_key"] = self._known.keys.get(event.pop("cid_token"))
        return found

    def count(self, **filters: Unpack[Filters]) -> int:
        """Return the number of stored actions."""
        # Ids have no gaps, and the largest is found without counting.
        if not any(value is not None for value in filters.values()):
            return self.last_id()
        where, values = self._where(filters)
        values |= {"since": 0, "below": 2**62}
        with self._lock:
            (count,) = self._db.execute(COUNT.format(where=where), values).fetchone()
        return int(count)

    def last_id(self) -> int:
        """Return the id of the newest event; 0 if there is none."""
        with self._lock:
            (last,) = self._db.execute("select max(id) from event").fetchone()
        return last or 0

    async def after(self, id: int, timeout: float) -> int:
        """Wait for the first event after ``id``, or for a reset, for so many seconds.

        Return the id of the newest event; ``id`` itself if none came in time.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        waiter = Waiter(loop)
        with self._lock:
            self._waiting.add(waiter)
        try:
            while (last := self.last_id()) == id and (left := end - loop.time()) > 0:
                # Nothing wakes it for an event of another process.
                await waiter.wait(min(left, LOOK_AGAIN_AFTER))
        finally:
            with self._lock:
                self._waiting.discard(waiter)
        return last

    @contextmanager
    def snapshot(self) -> Iterator[Callable[[str, Mapping[str, Any]], Any]]:
        """Run several queries on one state of the tables.

        The context is a function of a query and its named parameters; lists become
        JSON. It returns the decoded JSON of the query's only value.
        """

        def query(sql: str, values: Mapping[str, Any]) -> Any:
            values = {
                k: to_json(v) if isinstance(v, list) else v for k, v in values.items()
            }
            (found,) = self._db.execute(sql, values).fetchone()
            return orjson.loads(found) if isinstance(found, str) else found

        with self._lock:
            self._db.execute("begin")
            try:
                yield query
            finally:
                self._db.execute("commit")

    def _where(self, filters: Filters) -> tuple[str, dict[str, Any]]:
        given = {name: plain(str(v)) for name, v in filters.items() if v is not None}
        parts = ["event.id > :since and event.id < :below"]
        parts += [_CONDITIONS[name] for name in given]
        token = self._known.tokens.get(given.get("experience_key", ""), "")
        return " and ".join(parts), {**given, "cid_token": token}

    # --- the connection ------------------------------------------------------

    @contextmanager
    def _transaction(self, several: object) -> Iterator[sqlite3.Connection]:
        """Run several statements as one transaction; a single one is its own."""
        if not several:
            yield self._db
            return
        self._db.execute("begin immediate")
        try:
            yield self._db
        except BaseException:
            self._db.rollback()
            raise
        self._db.commit()

    def _wake(self) -> None:
        if not self._waiting:
            return
        with self._lock:
            for waiter in self._waiting:
                waiter.wake()

    def _start_afresh(self) -> None:
        """Reopen the file after a fork: the lock and the connection are the parent's.

        The parent's connection stays open: closing it would clean up its files.
        """
        self._lock = threading.RLock()
        self._waiting = set()
        _inherited.append(self._db)
        self._db = open_tables(self.path)


_stores: WeakSet[Store] = WeakSet()
_inherited: list[sqlite3.Connection] = []


def _start_afresh_after_fork() -> None:
    for store in _stores:
        store._start_afresh()


register_fork_hooks(after_in_child=_start_afresh_after_fork)
