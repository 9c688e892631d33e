"""``docs/explanation/losses.md``: what a whole run of the failure suite came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ..processes import REPOSITORY
from .scenarios import SCENARIOS, Result, Scenario
from .side_by_side import DUELS, RECOVERS_WITHIN, SETTLED_WITHIN, SHOWN, Cell, Duel

REPORT = REPOSITORY / "docs" / "explanation" / "losses.md"

FACTS = (
    *("processor", "cores", "load when it began", "system", "Python", "SQLite"),
    *("ours", "rivals"),
)


def write(
    ours: Iterable[tuple[Scenario, Result, Result]],
    common: Sequence[tuple[Duel, Mapping[str, Cell]]],
    left_out: Sequence[str],
    facts: Sequence[tuple[str, str]],
) -> Path:
    """Write the report and return where it is.

    Args:
        ours: Our scenarios, each with its fault and without.
        common: The common rows.
        left_out: What could not be played.
        facts: What is known of the machine.
    """
    played = sorted(ours, key=lambda one: SCENARIOS.index(one[0]))
    windows = [
        _window(scenario, fault) for scenario, fault, _ in played if scenario.window
    ]
    rows = sorted(common, key=lambda one: DUELS.index(one[0]))
    who = list(rows[0][1]) if rows else []
    known = dict(facts)
    REPORT.write_text(
        TEXT.format(
            date=datetime.now(UTC).date(),
            ours="\n".join(_line(*one) for one in played),
            windows="\n".join(windows),
            heads=" | ".join(who),
            rules="---|" * len(who),
            common="\n".join(_common(duel, cells, who) for duel, cells in rows),
            left_out="".join(f"\nNot played here: {what}.\n" for what in left_out),
            facts="\n".join(
                f"- {name}: {known[name]}" for name in FACTS if name in known
            ),
            shown=SHOWN,
            settled=f"{SETTLED_WITHIN:g}",
            recovers=f"{RECOVERS_WITHIN:g}",
        )
    )
    return REPORT


def _line(scenario: Scenario, result: Result, control: Result) -> str:
    tally, calm = result.tally, control.tally
    cells = [
        scenario.name,
        f"{result.repeats}",
        f"{tally.shown:,}",
        f"{tally.stored:,}",
        f"{len(tally.lost)}",
        f"{tally.twice}",
        f"{tally.unseen}",
        f"{max(result.ended):.1f}" if result.ended else "",
        f"{len(calm.lost)} of {calm.shown:,}, {calm.twice} twice",
    ]
    return f"| {' | '.join(cells)} |"


def _window(scenario: Scenario, result: Result) -> str:
    each = Counter(result.lost_each)
    spread = ", ".join(f"{lost} in {each[lost]}" for lost in sorted(each))
    text = (
        f"- **{scenario.name}**: {len(result.tally.lost)} of {result.tally.shown:,} in "
        f"{result.repeats} ends; lost by each: {spread}."
    )
    if result.ages:
        oldest = max(result.ages) * 1000
        moment = "before" if oldest >= 0 else "after"
        text += f" The first of them arrived {abs(oldest):.1f} ms {moment} the kill."
    return text


def _common(duel: Duel, cells: Mapping[str, Cell], who: Sequence[str]) -> str:
    return (
        f"| {duel.name} | {duel.repeats} | {' | '.join(str(cells[w]) for w in who)} |"
    )


TEXT = """\
# Losses, measured

This test kills real processes: web servers, scripts, relays, Redis; and it fills a
disk. Afterwards the sandbox, a process of its own with a file, lists the impressions
it stored. Every visitor is new, so that each page has its own id.

## Ours

Four visitors at a time load pages over real sockets. A page is *shown* once a visitor
has its last byte and it has the banner of the template tag. After the bad moment
`moe-middleware relay --until-empty` delivers what is left in the outbox, as the next
start of the site would. The settings are the defaults, but a page may take 5 seconds.

| what happens | times | pages shown | stored | lost | counted twice | of pages not \
received | slowest end, s | the same without it |
|---|---|---|---|---|---|---|---|---|
{ours}
{left_out}
- **lost**: shown, and not stored.
- **of pages not received**: the last byte was handed to the server, which is all
  that an app can know; then the connection or the process ended.
- **slowest end**: from the signal, or from a script's last page, to the process's end;
  the server's own wait for open connections is part of it, and so is what else this
  machine did. `events.shutdown_timeout` is 2 seconds; events that are not delivered by
  then stay in the outbox.
- A script's pages go through the WSGI door, without a server.

### The window that is left

An impression counts once the page's last byte was handed to the server. From then until
it stands in the journal a killed process loses it: 10 microseconds (the median;
`python -m benchmarks recording` measures it), and more where the machine runs another
process just then. No order of the two closes it: an event that is written before the
last byte leaves would count pages that were not received. Events in the journal
survive.

{windows}

It is the only one. In 40 more ends by SIGKILL, on 2026-11-30, the site noted each
request's last byte and its end: of 6,647 requests that had ended no impression was
lost; 3 were in between, and the only one lost was one of them.

Before there was a journal, an event waited in memory for the commit: 244 of 6,219 were
lost in 30 ends by SIGKILL, and 49 of 1,200 by children that end with `os._exit`.

### What each setting promises

| what happens | SQLite, `synchronous: normal` | SQLite, `synchronous: full` | Redis, \
AOF `everysec` | Redis, AOF `always` | `memory:` |
|---|---|---|---|---|---|
| a process is killed or crashes | only [the window](#the-window-that-is-left) | the \
same | the same | the same | its events are lost |
| the outbox cannot be written meanwhile: disk full, Redis away | up to \
`max_events` events of each process wait in its journal, as far as the disk has room \
| the same | the same | the same | - |
| the machine loses power | what was stored since SQLite's last checkpoint, and what \
stood in the journal | what stood in the journal: up to 50 ms, and a second while the \
outbox cannot be written; nothing that was delivered | the journal's 50 ms; up to a \
second more if it is Redis's machine | the journal's 50 ms | all |
| Redis is killed | - | - | nothing in 20 kills; up to 2 s where its disk is slow | \
nothing is lost | - |
| the outbox's disk fails, and a copy of it is mounted | what was stored since \
SQLite's last checkpoint | nothing: events wait in their process meanwhile | - | - | - |
| the host's disk is lost | all | all | the journals' 50 ms | the same | all |

The promises of sentinels and clusters, and the cost of a failover, are in
[redis.md](../how-to/redis.md).

A journal is a file that is mapped into memory. On btrfs, ZFS, NFS and the like, where a
mapped write may find no room, or no server, and would end the process, each record is
written by a system call instead; if that fails, events wait in memory and the log says
so. Do not shorten a journal's file while its process runs: that ends the process, as it
does with SQLite's own `-shm` file; to delete it is harmless. On Windows there is no
journal.

## All SDKs

The same script for each: it records {shown} impressions and ends as the row says, on
its package's own defaults. Ours shows each by the template tag on a page of the WSGI
door, against the sandbox; the rivals' clients record each by their own call, against a
server that keeps ids and passes over what it has, where their events say so by an id:
PostHog's uuid, Segment's messageId, Amplitude's insert_id, LaunchDarkly's payload id.
A forked child lives on for {settled} seconds after its last impression, longer than
every SDK's interval. After an outage each has {recovers} seconds. Afterwards ours
has the relay that its next start would be; the others keep nothing that a next start
could deliver.

| what happens | times | {heads} |
|---|---|{rules}
{common}

- **N of M lost**: of M impressions N were never stored; 0 of M is all well.
- **twice**: counted more than once. **hung**: killed, because it did not end.
- Ends that took 3 seconds or more are noted.

Measured on {date} by one run of `python -m benchmarks losses`; the outages last as
long as their names say. In the first two rows about a disk another program's file fills
it; in the third nothing is delivered until the outbox alone has filled a disk of 8 MB.
In the fourth Linux shuts an ext4 file system down.

{facts}
"""
