"""What processes have left in their journals that are gone: stored by this one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import closing

from .journal import Record
from .journal_files import AbandonedJournal, JournalFiles
from .stores import MAX_BATCH, Batch, Outcome, Store

logger = logging.getLogger(__name__)


def store_abandoned(
    files: JournalFiles, store: Store, *, note: Callable[[Outcome], None], outbox: str
) -> None:
    """Store the journals of processes that are gone, as long as that goes well.

    Args:
        files: The journals of the outbox.
        store: Where their events go.
        note: Called with what each batch came to.
        outbox: The outbox, as logs may show it.
    """
    with closing(files.abandoned()) as abandoned:
        for journal in abandoned:
            if not _store_all(journal, store, note):
                return
            journal.delete()
            if count := sum(record.events for record in journal.records):
                logger.warning(
                    "journal_taken_over outbox=%s events=%d: a process ended before it "
                    "had stored them; this one has",
                    outbox,
                    count,
                )


def _store_all(
    journal: AbandonedJournal, store: Store, note: Callable[[Outcome], None]
) -> bool:
    """Store a journal's records; return whether all of them are stored."""
    records: Sequence[Record] = journal.records
    while records:
        batch = Batch(journal.name, _fitting(records, store))
        outcome = store.do(batch, ())
        note(outcome)
        if outcome.error is not None:
            return False
        records = records[outcome.saved :]
    return True


def _fitting(records: Sequence[Record], store: Store) -> Sequence[Record]:
    """Return as many of the first records as one batch takes."""
    size = 0
    for count, record in enumerate(records[:MAX_BATCH]):
        if size >= store.batch_bytes:
            return records[:count]
        size += len(record.body)
    return records[:MAX_BATCH]
