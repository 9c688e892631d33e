"""What the sandbox learns while it runs: profiles and events, in SQLite.

One call costs one statement, or three where it teaches attributes. That is short enough
for the event loop (some 0.1 ms, in memory and in a file), so nothing here awaits but
``after``. Thread-safe, and any number of processes may share a file.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakSet

import orjson

from ...concurrency.fork_hooks import register_fork_hooks
from ..decisions.visitors import Visitor
from ..protocol.events import ACTIONS, WEB_SDK_ACTIONS, Element, Via
from ..protocol.fetches import Fetch
from ..workspace.workspace import Customer, Workspace
from .tables import MEMORY, TABLES, open_tables

CHUNK = 1_000
"""Events read by one statement, so that nobody waits long for the lock."""

LOOK_AGAIN_AFTER = 1.0
"""How soon another process's events are noticed, in seconds."""

_FIELDS = (
    *("uuid", "clicked", "customer_id", "context", "cid_token", "audience_id"),
    *("variation_id", "b_id", "event_time", "platform", "user_timezone_offset"),
    *("user_attributes", "received_at", "via", "device_uuid"),
)

# Rows travel as one JSON text, in and out: Python gives up the interpreter's lock at
# every row that it binds or steps to, and a busy event loop is slow to give it back.
ARRIVE = f"""
insert into arrival ({", ".join(_FIELDS)})
select {", ".join(f"json_extract(value, '$[{n}]')" for n in range(len(_FIELDS)))}
from json_each(:events)
"""
LEARN = """
insert into profile_attribute (customer_id, name, value)
select json_extract(value, '$[0]'), json_extract(value, '$[1]'),
    json_extract(value, '$[2]')
from json_each(:attributes) where true
on conflict do update set value = excluded.value
"""
PROFILE = """
select (
    select json_group_object(name, json(value)) from profile_attribute
    where profile_attribute.customer_id = profile.customer_id
)
from profile where customer_id = ?
"""
PROFILES = """
select json_group_array(json_array(customer_id, json(attributes))) from (
    select customer_id, (
        select json_group_object(name, json(value)) from profile_attribute
        where profile_attribute.customer_id = profile.customer_id
    ) as attributes
    from profile
    where customer_id not in (select value from json_each(:but)) order by id
    limit :limit
)
"""
# The cross join makes SQLite walk along the events, and stop at the limit.
EVENTS = f"""
select json_group_array(json_object(
    'id', id, 'customer_id', customer_id,
    'action', iif(via = '{Via.WEB_SDK}',
        iif(clicked, '{WEB_SDK_ACTIONS[1]}', '{WEB_SDK_ACTIONS[0]}'),
        iif(clicked, '{ACTIONS[1]}', '{ACTIONS[0]}')
    ),
    'moe_event_uuid', uuid, 'event_time', event_time, 'platform', platform,
    'attributes', json(body), 'b_id', b_id,
    'user_timezone_offset', user_timezone_offset,
    'user_attributes', json(coalesce(user_attributes, json_object())),
    'cid_token', cid_token, 'audience_id', audience_id, 'variation_id', variation_id,
    'received_at', received_at, 'via', via, 'device_uuid', device_uuid
)) from (
    select event.*, body, cid_token, audience_id, variation_id
    from event cross join context on context.id = context_id
    where {{where}} order by event.id {{order}} limit :limit
)
"""
COUNT = """
select count(*) from event cross join context on context.id = context_id where {where}
"""


class Store:
    """Keeps everything until ``reset``, the end of the file or that of the process.

    Args:
        path: The file, made where it is missing; ``:memory:`` for none.
        workspace: What is configured.

    Raises:
        StoreError: The file cannot be used.
    """

    def __init__(self, path: str = MEMORY, workspace: Workspace | None = None) -> None:
        self.path = path
        self.use(workspace or Workspace())
        self._waiting: set[_Waiter] = set()
        self._lock = threading.RLock()
        self._db = open_tables(path)
        _stores.add(self)

    def use(self, workspace: Workspace) -> None:
        """Go on with another workspace; what was learnt stays."""
        self._workspace = workspace
        self._known = _Known(workspace)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()

    def __del__(self) -> None:
        if db := getattr(self, "_db", None):
            db.close()

    # --- writing -------------------------------------------------------------

    def record(self, elements: Iterable[Element], received_at: float) -> None:
        """Store the actions not seen before and what is said about the customers.

        Args:
            elements: The good elements of one call.
            received_at: When the call came, in unix seconds.
        """
        elements = tuple(elements)
        events = [row for one in elements for row in _rows(one, received_at)]
        attributes = [row for one in elements for row in _attribute_rows(one)]
        with self._lock, self._transaction(len(attributes)) as db:
            db.execute(ARRIVE, {"events": _json(events)})
            if attributes:
                db.execute(LEARN, {"attributes": _json(attributes)})
        self._wake()

    def reset(self) -> None:
        """Forget every event and what they taught about customers."""
        with self._lock, self._transaction(True) as db:
            for table in TABLES:
                db.execute(f"delete from {table}")
        self._wake()

    # --- who is who ----------------------------------------------------------

    def visitor(self, fetch: Fetch) -> Visitor:
        """Return who a fetch is for."""
        customer = self._find_customer(fetch)
        if customer is None:
            return Visitor(
                user_id=fetch.customer_id or fetch.visitor_id or "",
                attributes=None,
                session=fetch.session,
            )
        return Visitor(
            user_id=customer.customer_id,
            attributes=customer.attributes,
            session=fetch.session,
        )

    def profile(self, customer_id: str) -> Customer | None:
        """Return a customer as known by now; None for one never heard of."""
        with self._lock:
            row = self._db.execute(PROFILE, (_plain(customer_id),)).fetchone()
        known = self._known.customers.get(customer_id)
        if row is None:
            return known
        return _taught(known or Customer(customer_id=customer_id), row[0])

    def profiles(self, *, limit: int | None = None) -> list[Customer]:
        """Return the workspace's customers, then the others, the oldest first."""
        known = list(self._known.customers)[:limit]
        told = {
            "but": _json(list(self._known.customers)),
            "limit": -1 if limit is None else limit - len(known),
        }
        with self._lock:
            (others,) = self._db.execute(PROFILES, told).fetchone()
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

    # --- what happened -------------------------------------------------------

    def events(
        self,
        *,
        since: int = 0,
        limit: int | None = None,
        newest_first: bool = False,
        experience_key: str | None = None,
        action: str | None = None,
        customer_id: str | None = None,
        variation_id: str | None = None,
        b_id: str | None = None,
    ) -> list[dict[str, Any]]:
        """Return stored actions; what is None does not matter.

        Args:
            since: The id after which to begin. Ids count from 1, without gaps, and
                again after each reset.
            limit: How many at most.
            newest_first: Whether the newest one comes first instead of last.
            experience_key: Of this experience.
            action: One of ``events.ACTIONS``, whichever way it came.
            customer_id: Of this customer.
            variation_id: Of the variation with this id, in any audience.
            b_id: Clicks at this element.
        """
        where, told = self._where(
            experience_key, action, customer_id, variation_id, b_id
        )
        # The bound that moves on from chunk to chunk: the one where reading began.
        moving = "below" if newest_first else "since"
        told |= {"since": since, "below": 2**62}
        query = EVENTS.format(where=where, order="desc" if newest_first else "")
        found: list[dict[str, Any]] = []
        while limit is None or len(found) < limit:
            wanted = CHUNK if limit is None else min(CHUNK, limit - len(found))
            with self._lock:
                (text,) = self._db.execute(query, told | {"limit": wanted}).fetchone()
            chunk = orjson.loads(text)
            found += chunk
            if len(chunk) < wanted:
                break
            told[moving] = chunk[-1]["id"]
        for event in found:
            event["experience_key"] = self._known.keys.get(event.pop("cid_token"))
        return found

    def count(
        self,
        *,
        experience_key: str | None = None,
        action: str | None = None,
        customer_id: str | None = None,
        variation_id: str | None = None,
        b_id: str | None = None,
    ) -> int:
        """Return how many actions are stored; the arguments are those of ``events``."""
        filters = (experience_key, action, customer_id, variation_id, b_id)
        if filters == (None,) * len(filters):
            return self.last_id()
        where, told = self._where(*filters)
        told |= {"since": 0, "below": 2**62}
        with self._lock:
            (count,) = self._db.execute(COUNT.format(where=where), told).fetchone()
        return int(count)

    def last_id(self) -> int:
        """Return the id of the newest event; 0 where there is none."""
        with self._lock:
            (last,) = self._db.execute("select max(id) from event").fetchone()
        return last or 0

    async def after(self, id: int, timeout: float) -> int:
        """Wait for the first event after ``id``, or for a reset.

        Args:
            id: The newest one known.
            timeout: How long to wait, in seconds.

        Returns:
            The id of the newest event: ``id`` itself where nothing came in time.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        waiter = _Waiter(loop)
        with self._lock:
            self._waiting.add(waiter)
        try:
            while (last := self.last_id()) == id and (left := end - loop.time()) > 0:
                await waiter.wait(min(left, LOOK_AGAIN_AFTER))
        finally:
            with self._lock:
                self._waiting.discard(waiter)
        return last

    @contextmanager
    def snapshot(self) -> Iterator[Callable[[str, Mapping[str, Any]], Any]]:
        """Let several queries see the tables as they are now, whoever writes meanwhile.

        The value takes a query with named parameters and their values, in which lists
        travel as JSON. It returns the JSON that is the one column of its one row.
        """

        def query(sql: str, told: Mapping[str, Any]) -> Any:
            values = {
                k: _json(v) if isinstance(v, list) else v for k, v in told.items()
            }
            (found,) = self._db.execute(sql, values).fetchone()
            return orjson.loads(found) if isinstance(found, str) else found

        with self._lock:
            self._db.execute("begin")
            try:
                yield query
            finally:
                self._db.execute("commit")

    def _where(
        self,
        experience_key: str | None,
        action: str | None,
        customer_id: str | None,
        variation_id: str | None,
        b_id: str | None,
    ) -> tuple[str, dict[str, Any]]:
        told = {
            "cid_token": self._known.tokens.get(experience_key or "", ""),
            "action": action,
            "customer_id": _plain(customer_id or ""),
            "variation_id": _plain(variation_id or ""),
            "b_id": _plain(b_id or ""),
        }
        parts = [
            "event.id > :since and event.id < :below",
            "cid_token = :cid_token" if experience_key is not None else "",
            f"clicked = (:action = '{ACTIONS[1]}')" if action is not None else "",
            "customer_id = :customer_id" if customer_id is not None else "",
            "variation_id = :variation_id" if variation_id is not None else "",
            "clicked and b_id = :b_id" if b_id is not None else "",
        ]
        return " and ".join(filter(None, parts)), told

    # --- the connection ------------------------------------------------------

    @contextmanager
    def _transaction(self, several: object) -> Iterator[sqlite3.Connection]:
        """Let several statements happen together; one alone is a transaction anyway."""
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
        """Open anew: after a fork the lock and the connection are the parent's.

        The parent's is not closed, which would clean up its file below its feet.
        """
        self._lock = threading.RLock()
        self._waiting = set()
        _inherited.append(self._db)
        self._db = open_tables(self.path)


class _Waiter:
    """One task that waits in its event loop, and can be woken from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()

    async def wait(self, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._event.wait()
        except TimeoutError:
            return
        self._event.clear()

    def wake(self) -> None:
        # A loop that was closed in the middle has nobody who waits any more.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._event.set)


class _Known:
    """A workspace's customers and experiences, by what a call names them with."""

    def __init__(self, workspace: Workspace) -> None:
        self.customers = {one.customer_id: one for one in workspace.customers}
        self.keys = {one.cid_token: one.key for one in workspace.experiences}
        self.tokens = {key: token for token, key in self.keys.items()}
        self._by_identifier: dict[tuple[str, str] | str, str] = {}
        for customer in workspace.customers:
            for name, value in customer.identifiers.items():
                for key in ((name, value), value):
                    self._by_identifier.setdefault(key, customer.customer_id)

    def find(self, user_identifiers: Mapping[str, str] | str) -> str | None:
        """Return whom identifiers belong to: the first of them that is somebody's."""
        if isinstance(user_identifiers, str):
            return self._by_identifier.get(user_identifiers)
        found = map(self._by_identifier.get, user_identifiers.items())
        return next((one for one in found if one is not None), None)


def _rows(element: Element, received_at: float) -> Iterator[tuple[Any, ...]]:
    """Yield an element's actions in the order of ``_FIELDS``."""
    customer_id = _plain(element.customer_id)
    for action in element.actions:
        context = action.attributes
        yield (
            _plain(action.uuid),
            ACTIONS.index(action.action),
            customer_id,
            context,
            _plain(cid_token(context["cid"])),
            _plain(context["audience_id"]),
            _plain(context["moe_variation_id"]),
            None if action.b_id is None else _plain(action.b_id),
            action.event_time,
            action.platform,
            element.user_timezone_offset,
            element.user_attributes or None,
            received_at,
            action.via,
            action.device_uuid,
        )


def _attribute_rows(element: Element) -> Iterator[tuple[str, str, str]]:
    for name, value in element.user_attributes.items():
        yield _plain(element.customer_id), _plain(name), _json(value)


def cid_token(cid: str) -> str:
    """Return what all cids of one experience begin with."""
    return cid.partition("_")[0]


def _taught(customer: Customer, attributes: str) -> Customer:
    return Customer(
        customer_id=customer.customer_id,
        attributes={**customer.attributes, **orjson.loads(attributes)},
        identifiers=customer.identifiers,
    )


def _plain(text: str) -> str:
    # SQLite ends a text in JSON at a NUL, and two ids would be one.
    return text.replace("\0", "\N{SYMBOL FOR NULL}")


def _json(document: object) -> str:
    return orjson.dumps(document).decode()


_stores: WeakSet[Store] = WeakSet()
_inherited: list[sqlite3.Connection] = []


def _start_afresh_after_fork() -> None:
    for store in _stores:
        store._start_afresh()


register_fork_hooks(after_in_child=_start_afresh_after_fork)
