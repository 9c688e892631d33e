"""The methods that the outboxes in SQLite and Redis share, over a writer thread."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from ..models.arguments import seconds_of
from ..models.errors import OutboxError
from ..models.observers import Observer
from .batch_writer import BatchWriter
from .contract import Counts, Health, Synchronous, WhenFull
from .journal_files import JournalFiles
from .losses import Losses
from .store_contract import Operation, Store


class StoredOutbox(ABC):
    """An outbox with a store that blocks, which only its writer thread uses.

    Args:
        synchronous: With ``full``, a journal is written to the disk while the store
            fails.
        observer: Receives the counts of events.

    The others are as in ``BatchWriter``.
    """

    def __init__(
        self,
        name: str,
        *,
        new_store: Callable[[], Store],
        files: JournalFiles | None,
        max_events: int,
        when_full: WhenFull,
        synchronous: Synchronous,
        observer: Observer | None,
    ) -> None:
        self._name = name
        self._observer = observer or Observer()
        self._losses = Losses(name, self._observer)
        self._writer = BatchWriter(
            name,
            new_store=new_store,
            files=files,
            max_events=max_events,
            when_full=when_full,
            syncs=synchronous == "full",
            losses=self._losses,
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name!r}>"

    async def flush(self) -> None:
        if self._writer.unsaved:
            await self._do(None, after_saving=True)

    def close(self, *, timeout: float = 5.0) -> None:
        self._writer.close(seconds_of(timeout))

    async def note(self, name: str, note: bytes) -> None:
        await self.replace_notes({}, {name: note})

    @abstractmethod
    async def replace_notes(
        self, expected: Mapping[str, bytes], new: Mapping[str, bytes]
    ) -> bool: ...

    async def count(self) -> Counts:
        # Before the others: an event that is stored meanwhile must not be in neither.
        unsaved = self._writer.unsaved
        waiting, dead = await self._entries()
        return Counts(
            waiting=waiting,
            dead=dead,
            unsaved=unsaved,
            refused=self._losses["refused"],
            dropped=self._losses["dropped"],
            lost=self._losses["lost"],
        )

    async def health(self, *, timeout: float = 1.0) -> Health:
        problem = None
        try:
            async with asyncio.timeout(seconds_of(timeout)):
                await self._try_to_write()
        except TimeoutError:
            problem = f"{self._name}: it could not be written within {timeout:g} s"
        except OutboxError as error:
            problem = str(error)
        return Health(
            writable=problem is None, unsaved=self._writer.unsaved, problem=problem
        )

    @abstractmethod
    async def _entries(self) -> tuple[int, int]:
        """Return how many events wait, and how many dead letters there are."""

    @abstractmethod
    async def _try_to_write(self) -> None:
        """Write something to the store that changes nothing.

        Raises:
            OutboxError: It cannot be written.
        """

    async def _do(
        self,
        work: Any,
        *,
        reads: bool = False,
        after_saving: bool = False,
        abandoned: Callable[[Any], Operation] | None = None,
    ) -> Any:
        """Run an operation on the writer thread; see ``Operation``."""
        operation = Operation(work, reads, after_saving, abandoned)
        self._writer.ask(operation)
        return await asyncio.wrap_future(operation.done)
