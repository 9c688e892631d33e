"""An outbox in Redis Streams, shared by any number of hosts.

One writer thread sends all events appended meanwhile in one pipeline, so the event loop
never waits for Redis.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...models.arguments import events_of
from ...models.events import Event
from ...models.observers import Observer
from ...network.redis.options import redis_options
from ...settings.store_addresses import StoreAddress
from ..contract import (
    MAX_EVENTS,
    UNREADABLE,
    Claim,
    DeadLetter,
    EventId,
    Kind,
    Synchronous,
    WaitingEvent,
    WhenFull,
)
from ..encoding import encode
from ..journal_files import JournalFiles
from ..losses import observe
from ..store_contract import Operation
from ..stored_outbox import StoredOutbox
from . import scripts
from .connection import TIMEOUT, Call, Connection
from .encoding import (
    chunked,
    chunks_of,
    customer_of,
    dead_letter,
    is_id,
    number_of,
    packed_event,
    packed_letter,
    queue_of,
    read_claims,
    waiting_event,
    words,
)
from .store import Chunk, RedisStore


class RedisOutbox(StoredOutbox):
    """The outbox contract over a Redis or Valkey, 7.0 or later, also in a cluster.

    It connects at the first use. Without its append-only file, a Redis that is killed
    loses all events. While it is unreachable, events wait in this process's journal.

    Args:
        url: ``redis://`` or ``rediss://``, also ``redis+sentinel://`` and
            ``redis+cluster://``, with redis-py's options as its query.
        workspace_id: The events' workspace: one Redis may hold those of several.
        max_events: The most waiting events.
        when_full: Whether new events are then refused or the oldest dropped.
        synchronous: With ``full``, what waits in the journal while Redis is away
            reaches the disk, too, within a second.
        journal: The prefix of the paths of the journals: files on this host with
            appended events until they are stored. Without it they wait in memory, and
            are lost if the process is killed.
        replicas: How many replicas must have an event before it counts as stored. None
            waits for one where there is one that could become the primary.
        observer: Receives the counts of events.
        clock: The time, in unix seconds; by default the time of Redis, so that the
            hosts' clocks may differ.

    Raises:
        SettingsError: The redis package is missing, or the address is none.
    """

    def __init__(
        self,
        url: str,
        *,
        workspace_id: str,
        max_events: int = MAX_EVENTS,
        when_full: WhenFull = "refuse",
        synchronous: Synchronous = "normal",
        journal: str | None = None,
        replicas: int | None = None,
        observer: Observer | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        name = StoreAddress(url).shown
        self._max_events = max_events
        self._when_full: WhenFull = when_full
        self._clock = clock
        options = redis_options(url, where="events.outbox", timeout=TIMEOUT)
        super().__init__(
            name,
            # With a connection of its own: after a fork, the open one is the parent's.
            new_store=lambda: RedisStore(
                name,
                connection=Connection(options, workspace_id, replicas=replicas),
                save=self._save,
            ),
            files=JournalFiles(journal) if journal else None,
            max_events=max_events,
            when_full=when_full,
            synchronous=synchronous,
            observer=observer,
        )

    # --- an event's life ---------------------------------------------------

    def append(self, events: Sequence[Event]) -> None:
        # If one cannot be encoded, none is appended.
        records = [
            packed_event(one.customer_id, encode(one)) for one in events_of(events)
        ]
        if records:
            self._take(records)

    def append_encoded(self, customer_id: str, bodies: Sequence[bytes]) -> None:
        self._take([packed_event(customer_id, body) for body in bodies])

    def _take(self, records: Sequence[bytes]) -> None:
        for some in chunked(records):
            self._writer.append(b"".join(some), len(some))
        observe(self._observer, "appended", len(records))

    def _save(self, chunk: Chunk) -> Call:
        bodies = [record.body for record in chunk.records]
        last = chunk.records[-1].sequence
        first = chunk.records[0].sequence - chunk.records[0].events + 1
        return Call(
            scripts.APPEND,
            (
                *(first, last, chunk.after, chunk.stored, chunk.refused, chunk.dropped),
                *(self._max_events, self._when_full, self._now()),
                *(b"".join(bodies), scripts.WRITER_EXPIRES_AFTER),
            ),
            writer=chunk.journal,
        )

    async def claim(
        self, *, limit: int, lease_for: float, relay: str = ""
    ) -> list[Claim]:
        def abandoned(answer: list[bytes]) -> Operation:
            # The relay was cancelled: others must not wait for the lease.
            return Operation(Call(scripts.HOLD, (answer[0], self._now(), 0.0, "1")))

        call = Call(
            scripts.CLAIM,
            (
                *(self._now(), lease_for, min(limit, scripts.MAX_CLAIM)),
                *(relay, relay or _consumer(), scripts.CLOCK_TOLERANCE),
            ),
        )
        while True:
            *found, may_be_more = await self._do(call, abandoned=abandoned)
            claims, unreadable = read_claims(*found)
            if unreadable:
                await self.bury(unreadable, reason=UNREADABLE)
                observe(self._observer, "buried", len(unreadable))
            if claims or not may_be_more:
                return sorted(claims, key=lambda claim: number_of(claim.id))

    async def extend(self, ids: Sequence[EventId], *, lease_for: float) -> None:
        await self._for_each(ids, scripts.HOLD, self._now(), lease_for, "0")

    async def ack(self, ids: Sequence[EventId]) -> None:
        await self._for_each(ids, scripts.ACK)

    async def retry(self, ids: Sequence[EventId], *, delay: float) -> None:
        await self._for_each(ids, scripts.HOLD, self._now(), delay, "1")

    async def bury(self, ids: Sequence[EventId], *, reason: str) -> None:
        await self._for_each(ids, scripts.BURY, self._now(), reason)

    async def _for_each(
        self, ids: Sequence[EventId], script: str, *arguments: object
    ) -> None:
        for some in chunks_of(ids):
            await self._do(Call(script, (words(some), *arguments)))

    # --- notes of processes ------------------------------------------------

    async def replace_notes(
        self, expected: Mapping[str, bytes], new: Mapping[str, bytes]
    ) -> bool:
        pairs = [one for pair in (*expected.items(), *new.items()) for one in pair]
        arguments = (2 * len(expected), *pairs)
        replace = Call(scripts.REPLACE_NOTES, arguments, writer=scripts.PROCESSES)
        return bool(await self._do(replace))

    async def notes(self) -> dict[str, bytes]:
        found = await self._do(Call(scripts.NOTES, writer=scripts.PROCESSES))
        names = (name.decode(errors="replace") for name in found[::2])
        return dict(zip(names, found[1::2], strict=True))

    # --- status and repair -------------------------------------------------

    async def _entries(self) -> tuple[int, int]:
        waiting, dead = await self._do(Call(scripts.COUNT))
        return waiting, dead

    async def _try_to_write(self) -> None:
        await self._do(Call(scripts.TRY_TO_WRITE, (1,), writer="health"))

    async def waiting(
        self, *, limit: int = 100, after: EventId | None = None
    ) -> list[WaitingEvent]:
        def script(after: EventId | None, count: int) -> Call:
            start = "-"
            if after is not None:
                start = f"({after}" if is_id(after) else "+"
            return Call(scripts.WAITING, (start, "+", count))

        return [waiting_event(*row) for row in await self._page(script, limit, after)]

    async def dead_letters(
        self, *, limit: int = 100, after: EventId | None = None
    ) -> list[DeadLetter]:
        def script(after: EventId | None, count: int) -> Call:
            newest = "+inf" if after is None else f"({number_of(after)}"
            return Call(scripts.DEAD_LETTERS, (newest, count))

        return [dead_letter(*row) for row in await self._page(script, limit, after)]

    async def _page(
        self,
        script: Callable[[EventId | None, int], Call],
        limit: int,
        after: EventId | None,
    ) -> list[Any]:
        """Return the rows of a page, as many at a time as one script takes."""
        found: list[Any] = []
        while len(found) < limit:
            wanted = min(scripts.CHUNK, limit - len(found))
            rows = await self._do(script(after, wanted))
            found += rows
            if len(rows) < wanted:
                break
            after = rows[-1][0].decode()
        return found

    async def find(self, id: EventId) -> WaitingEvent | DeadLetter | None:
        if not is_id(id):
            return None
        for row in await self._do(Call(scripts.WAITING, (id, id, 1))):
            return waiting_event(*row)
        for row in await self._do(Call(scripts.DEAD_LETTER, (id,))):
            return dead_letter(*row)
        return None

    async def replay(
        self, *, ids: Sequence[EventId] | None = None, limit: int | None = None
    ) -> int:
        return await self._in_pieces(scripts.REPLAY, ids, limit)

    async def purge(
        self,
        kind: Kind,
        *,
        ids: Sequence[EventId] | None = None,
        limit: int | None = None,
    ) -> int:
        script = scripts.PURGE_WAITING if kind == "waiting" else scripts.PURGE_DEAD
        return await self._in_pieces(script, ids, limit)

    async def _in_pieces(
        self, script: str, ids: Sequence[EventId] | None, limit: int | None
    ) -> int:
        """Run a script over chunks of these events, or of the oldest; return the sum.

        Redis runs other commands in between.
        """
        done = 0
        if ids is not None:
            chosen = sorted({str(id) for id in ids if is_id(id)}, key=number_of)
            for some in chunks_of(chosen):
                wanted = some if limit is None else some[: limit - done]
                if wanted:
                    done += await self._do(Call(script, (0, words(wanted))))
            return done
        while limit is None or done < limit:
            most = scripts.CHUNK if limit is None else min(scripts.CHUNK, limit - done)
            count = await self._do(Call(script, (most, "")))
            done += count
            if count < most:
                break
        return done

    async def restore(self, kept: Sequence[WaitingEvent | DeadLetter]) -> None:
        waiting = [one for one in kept if isinstance(one, WaitingEvent)]
        dead = [one for one in kept if isinstance(one, DeadLetter)]
        for some in chunked(waiting):
            blob = b"".join(packed_event(customer_of(one), one.body) for one in some)
            await self._do(Call(scripts.RESTORE_WAITING, (len(some), blob)))
        for letters in chunked(dead):
            letters_of_queues: list[int | bytes] = []
            for one in letters:
                letters_of_queues += [queue_of(customer_of(one)), packed_letter(one)]
            await self._do(Call(scripts.RESTORE_DEAD, tuple(letters_of_queues)))

    def _now(self) -> float | str:
        return self._clock() if self._clock is not None else ""


def _consumer() -> str:
    """Return the name of this process in the consumer group."""
    return f"{socket.gethostname()}-{os.getpid()}"
