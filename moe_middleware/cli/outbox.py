"""The commands ``outbox``: show and manage waiting events and dead letters."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from . import options
from .outbox_exports import (
    export_events,
    new_file,
    old_file,
    pages_of,
    record_of,
    size_of,
)
from .outbox_places import on_an_outbox, use_outbox
from .outbox_steps import check_choice, progress, report, step_by_step
from .outbox_tables import age_of, cell, delivery_rows, described
from .terminal import duration, stop, table

if TYPE_CHECKING:
    from ..outbox import DeadLetter, Kind, Outbox, WaitingEvent

T = TypeVar("T")

EXIT_CODES = """\b
Exit codes: 0 done, 1 it failed or an ID is not there, 2 the command is wrong."""


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 88},
    epilog=f"""\b
Examples:
  moe-middleware outbox status
  moe-middleware outbox list --dead
  moe-middleware outbox replay --all
  moe-middleware outbox status --json --outbox sqlite:////srv/shop/outbox.db

All of them work while servers and relays run on the same outbox.

{EXIT_CODES}""",
)
def outbox() -> None:
    """List and manage waiting events and dead letters."""


reveal = click.option(
    "--reveal", is_flag=True, help="Show the customer and the payload, too."
)


@outbox.command(epilog=EXIT_CODES)
@on_an_outbox
@options.as_json
def status(config: str | None, url: str | None, as_json: bool) -> None:
    """Count waiting events and dead letters.

    The outbox is written, too, without a change: the exit code is 1 where that fails.
    """

    async def look(outbox: Outbox) -> dict[str, Any]:
        counts, health = await outbox.count(), await outbox.health()
        oldest = await outbox.waiting(limit=1)
        delivery = await read_delivery(outbox, await read_processes(outbox))
        return {
            "waiting": counts.waiting,
            "dead": counts.dead,
            "oldest_age": age_of(oldest[0]) if oldest else None,
            "writable": health.writable,
            "problem": health.problem,
            **delivery,
        }

    from ..outbox.process_status import read_delivery, read_processes

    address, found = use_outbox(config, url, look)
    if as_json:
        click.echo(json.dumps({"outbox": address, **found}, indent=2))
    else:
        rows = [
            ("outbox", address),
            ("waiting", f"{found['waiting']:,}"),
            ("oldest", duration(found["oldest_age"])),
            ("dead", f"{found['dead']:,}"),
            *delivery_rows(found),
            ("writable", "yes" if found["writable"] else f"no: {found['problem']}"),
        ]
        click.echo("\n".join(table(rows)))
    if not found["writable"]:
        sys.exit(1)


@outbox.command(
    "list",
    epilog=f"""\b
Examples:
  moe-middleware outbox list
  moe-middleware outbox list --dead --limit 5 --reveal

{EXIT_CODES}""",
)
@on_an_outbox
@click.option("--dead", is_flag=True, help="Dead letters, newest first.")
@click.option(
    "--limit",
    default=20,
    show_default=True,
    type=click.IntRange(1),
    help="How many at most.",
)
@click.option("--after", metavar="ID", help="Go on behind this one.")
@reveal
@options.as_json
def list_(
    config: str | None,
    url: str | None,
    dead: bool,
    limit: int,
    after: str | None,
    reveal: bool,
    as_json: bool,
) -> None:
    """List waiting events, oldest first, or dead letters."""

    async def look(outbox: Outbox) -> Sequence[WaitingEvent | DeadLetter]:
        if dead:
            return await outbox.dead_letters(limit=limit, after=after)
        return await outbox.waiting(limit=limit, after=after)

    _, found = use_outbox(config, url, look)
    events = [described(one, reveal=reveal) for one in found]
    if as_json:
        click.echo(json.dumps(events, indent=2))
    elif not events:
        click.echo("no dead letters" if dead else "nothing waits")
    else:
        last = "reason" if dead else "due_in"
        names = ["id", "action", "age", "attempts", last]
        names += ["customer_id", "uuid"] if reveal else []
        heads = [name.upper().replace("_", " ") for name in names]
        rows = [[cell(name, one.get(name)) for name in names] for one in events]
        click.echo("\n".join(table([heads, *rows])))


@outbox.command(epilog=EXIT_CODES)
@on_an_outbox
@click.argument("id")
@reveal
@options.as_json
def show(
    config: str | None, url: str | None, id: str, reveal: bool, as_json: bool
) -> None:
    """Show one event, waiting or dead, by the ID that 'list' prints."""
    _, found = use_outbox(config, url, lambda outbox: outbox.find(id))
    if found is None:
        stop([f"{id}: no event has this id: it may have been delivered"])
    event = described(found, reveal=reveal)
    if as_json:
        click.echo(json.dumps(event, indent=2))
        return
    rows = [(name, cell(name, value)) for name, value in event.items()]
    click.echo("\n".join(table(rows)))
    if not reveal:
        click.echo("customer and payload: --reveal")


@outbox.command(
    epilog=f"""\b
Examples:
  moe-middleware outbox replay --all
  moe-middleware outbox replay 17 42

{EXIT_CODES}"""
)
@on_an_outbox
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every dead letter.")
def replay(
    config: str | None, url: str | None, ids: tuple[str, ...], everything: bool
) -> None:
    """Deliver dead letters again.

    They keep their uuids: an event that had arrived does not count twice.
    """
    check_choice(ids, everything)

    async def run(outbox: Outbox) -> int:
        return await step_by_step(
            "replaying",
            len(ids) or (await outbox.count()).dead,
            ids,
            lambda part, limit: outbox.replay(ids=part, limit=limit),
        )

    _, replayed = use_outbox(config, url, run)
    report("replayed", replayed, ids)


@outbox.command(
    epilog=f"""\b
Examples:
  moe-middleware outbox purge dead --all
  moe-middleware outbox purge waiting 17 42 --yes

{EXIT_CODES}"""
)
@on_an_outbox
@click.argument("kind", type=click.Choice(["waiting", "dead"]))
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All events of this kind.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def purge(
    config: str | None,
    url: str | None,
    kind: Kind,
    ids: tuple[str, ...],
    everything: bool,
    yes: bool,
) -> None:
    """Delete waiting events or dead letters for good, undelivered."""
    check_choice(ids, everything)

    async def count(outbox: Outbox) -> int:
        counts = await outbox.count()
        return counts.waiting if kind == "waiting" else counts.dead

    async def run(outbox: Outbox) -> int:
        return await step_by_step(
            "purging",
            total,
            ids,
            lambda part, limit: outbox.purge(kind, ids=part, limit=limit),
        )

    # Outside of the event loop: the question waits for a person.
    address, held = use_outbox(config, url, count)
    total = len(ids) or held
    if total and not yes:
        what = "waiting events" if kind == "waiting" else "dead letters"
        click.confirm(f"Delete {total:,} {what} of {address}?", abort=True, err=True)
    _, purged = use_outbox(config, url, run)
    report("purged", purged, ids)


@outbox.command(
    epilog=f"""\b
Examples:
  moe-middleware outbox export events.jsonl
  moe-middleware outbox export --dead - | gzip > dead.jsonl.gz

The file has all data of the events, ids of customers included; only its owner may
read it. The events stay in the outbox.

{EXIT_CODES}"""
)
@on_an_outbox
@click.argument("file", type=click.Path(allow_dash=True))
@click.option("--waiting", is_flag=True, help="Only waiting events.")
@click.option("--dead", is_flag=True, help="Only dead letters.")
def export(
    config: str | None, url: str | None, file: str, waiting: bool, dead: bool
) -> None:
    """Write all events to a new FILE.

    One event per line; - is stdout.
    """

    async def run(outbox: Outbox) -> int:
        counts = await outbox.count()
        both = waiting == dead
        total = (waiting or both) * counts.waiting + (dead or both) * counts.dead
        with new_file(file) as out, progress("exporting", total) as advance:
            written = 0
            if waiting or both:
                written += await export_events(out, advance, outbox.waiting)
            if dead or both:
                written += await export_events(out, advance, outbox.dead_letters)
        return written

    _, written = use_outbox(config, url, run)
    click.echo(f"exported {written:,}", err=True)


@outbox.command(
    "import",
    epilog=f"""\b
Examples:
  moe-middleware outbox import events.jsonl
  gunzip -c dead.jsonl.gz | moe-middleware outbox import -

Uuids are kept: an event that is imported twice, or was delivered, counts once.

{EXIT_CODES}""",
)
@on_an_outbox
@click.argument("file", type=click.Path(allow_dash=True))
def import_(config: str | None, url: str | None, file: str) -> None:
    """Import the events in FILE, as written by 'export'; - is stdin."""

    async def run(outbox: Outbox) -> int:
        taken = 0
        with old_file(file) as lines, progress("importing", size_of(file)) as advance:
            for page in pages_of(lines):
                await outbox.restore([record_of(number, line) for number, line in page])
                taken += len(page)
                advance(sum(len(line) for _, line in page))
        return taken

    if file != "-":
        # Import all events or none, as far as this can be checked.
        with old_file(file) as lines:
            for number, line in enumerate(lines, 1):
                record_of(number, line)
    _, taken = use_outbox(config, url, run, make=True)
    click.echo(f"imported {taken:,}", err=True)
