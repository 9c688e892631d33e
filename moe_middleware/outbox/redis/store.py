"""A Redis as a store: a batch and operations are one pipeline."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ...models.errors import OutboxError
from ..journal_records import Record
from ..store_contract import Batch, Operation, Outcome
from .connection import Call, Connection, Replicated
from .scripts import CHUNK, CHUNK_BYTES, STORED

logger = logging.getLogger(__name__)

MAX_BATCH_BYTES = 5_000_000
"""The most bytes of events in one pipeline, so that no operation waits long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Records for one script, and the data by which it detects a repetition."""

    journal: str
    # With events numbered without gaps.
    records: Sequence[Record]
    # The number of the last event before them that was stored or sent.
    after: int
    # The number of the last event that is known to be stored, and how many of the
    # journal's events were refused, and others dropped for them, up to it.
    stored: int
    refused: int
    dropped: int


@dataclass(slots=True)
class _Progress:
    """The last stored event of a journal, and its totals."""

    stored: int = 0
    refused: int = 0
    dropped: int = 0


class RedisStore:
    """The store of a Redis outbox. An operation's work is a call.

    Args:
        name: The outbox's name in logs.
        connection: Runs scripts.
        save: Returns the call that stores a chunk. Its answer is the journal's totals
            of refused and dropped events.
    """

    batch_bytes = MAX_BATCH_BYTES
    comes_back = True

    def __init__(
        self,
        name: str,
        *,
        connection: Connection,
        save: Callable[[Chunk], Call],
    ) -> None:
        self.deadline = float("inf")
        self._name = name
        self._connection = connection
        self._save = save
        self._journals: dict[str, _Progress] = {}

    def do(self, batch: Batch | None, operations: Sequence[Operation]) -> Outcome:
        """Send all in one pipeline; each chunk and operation can fail alone."""
        try:
            chunks = [*self._chunks(batch)] if batch is not None else []
            calls: list[Call | Replicated] = [self._save(chunk) for chunk in chunks]
            if chunks:
                calls.append(Replicated())
            calls += [one.work for one in operations if one.work]
            answers = self._connection.run(calls)
        except Exception as error:
            self.close()
            if not isinstance(error, OutboxError):
                error = OutboxError(f"{self._name}: {type(error).__name__}")
            return Outcome(results=[error] * len(operations), error=error)
        outcome = Outcome()
        rest = iter(answers)
        saved = [next(rest) for _ in chunks]
        replicated = next(rest) if chunks else None
        if isinstance(replicated, Exception):
            # Another server may be the primary by now.
            self.close()
        for chunk, answer in zip(chunks, saved, strict=True):
            if isinstance(answer, Exception) or isinstance(replicated, Exception):
                outcome.error = answer if isinstance(answer, Exception) else replicated
                break
            self._count(outcome, chunk, answer)
        outcome.results = [next(rest) if one.work else None for one in operations]
        return outcome

    def log_failure(self, error: Exception, unsaved: int) -> None:
        """Log why events cannot be stored, with advice."""
        logger.error(
            "outbox_failed outbox=%s unsaved=%d error=%s: events wait until it "
            "answers: is it running, and is the address in events.outbox right?",
            self._name,
            unsaved,
            str(error).rstrip("."),
        )

    def close(self) -> int:
        """Disconnect."""
        self._connection.close()
        return 0

    def _chunks(self, batch: Batch) -> Iterator[Chunk]:
        """Divide a batch into chunks for one script each."""
        progress = self._journals.get(batch.journal)
        if progress is None:
            progress = self._journals[batch.journal] = self._progress(batch.journal)
        after = progress.stored
        records = batch.records
        while records:
            count = _fitting(records)
            yield Chunk(
                journal=batch.journal,
                records=records[:count],
                after=after,
                stored=progress.stored,
                refused=progress.refused,
                dropped=progress.dropped,
            )
            after = records[count - 1].sequence
            records = records[count:]

    def _progress(self, journal: str) -> _Progress:
        """Return the progress of a journal, also of an ended process's."""
        [answer] = self._connection.run([Call(STORED, writer=journal)])
        if isinstance(answer, Exception):
            raise answer
        return _Progress(*answer)

    def _count(self, outcome: Outcome, chunk: Chunk, answer: Sequence[int]) -> None:
        progress = self._journals[chunk.journal]
        outcome.saved += len(chunk.records)
        # Of a repeated chunk, the first records were stored before.
        outcome.added += chunk.records[-1].sequence - max(
            chunk.records[0].sequence - chunk.records[0].events, progress.stored
        )
        outcome.refused += answer[0] - progress.refused
        outcome.dropped += answer[1] - progress.dropped
        progress.refused, progress.dropped = answer[0], answer[1]
        progress.stored = chunk.records[-1].sequence


def _fitting(records: Sequence[Record]) -> int:
    """Return how many of the first records fit into one script."""
    size, last = 0, records[0].sequence - records[0].events
    most = last + CHUNK
    for count, record in enumerate(records):
        last += record.events
        if size >= CHUNK_BYTES or last > most or record.sequence != last:
            return count
        size += len(record.body)
    return len(records)
