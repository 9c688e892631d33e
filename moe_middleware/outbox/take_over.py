"""Stores the events in journals of ended processes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

from .journal_files import AbandonedJournal, JournalFiles
from .journal_records import Record
from .store_contract import MAX_BATCH, Batch, Outcome, Store

logger = logging.getLogger(__name__)


def store_abandoned(
    files: JournalFiles, store: Store, *, note: Callable[[Outcome], None], outbox: str
) -> None:
    """Store the journals of ended processes, until a batch fails.

    Args:
        files: The journals of the outbox.
        store: The outbox's store.
        note: Called with the outcome of each batch.
        outbox: The outbox's name in logs.
    """
    with closing(files.abandoned()) as abandoned:
        for journal in abandoned:
            try:
                added = _store_all(journal, store, note)
            except OSError as error:
                files.log_unreadable(journal.name, error)
                continue
            if added is None:
                # The store fails: the others would, too, and are found again later.
                return
            journal.delete()
            if added:
                logger.warning(
                    "journal_taken_over outbox=%s events=%d: a process ended before it "
                    "had stored them; this one has",
                    outbox,
                    added,
                )


def _store_all(
    journal: AbandonedJournal, store: Store, note: Callable[[Outcome], None]
) -> int | None:
    """Store a journal's records; return how many events are new, None if it failed."""
    records, added = journal.records(), 0
    while batch := _next_batch(records, store.batch_bytes):
        outcome = store.do(Batch(journal.name, batch), ())
        note(outcome)
        added += outcome.added
        if outcome.error is not None:
            return None
    return added


def _next_batch(records: Iterator[Record], most_bytes: int) -> Sequence[Record]:
    """Return as many of the next records as one batch takes."""
    batch: list[Record] = []
    most = MAX_BATCH
    while most > 0 and most_bytes > 0 and (record := next(records, None)):
        batch.append(record)
        most -= record.events
        most_bytes -= len(record.body)
    return batch
