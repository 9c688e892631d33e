"""The commands that see and steer an outbox: what waits there, and what is dead."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from .command_settings import load_settings
from .terminal import duration, printable, stop, table

if TYPE_CHECKING:
    from ..outbox import DeadLetter, EventId, Kind, Outbox, WaitingEvent
    from ..settings.sections import EventSettings

T = TypeVar("T")

PAGE = 1_000
"""Events that are read or written at a time: the whole of a big outbox fits nowhere."""

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


def on_an_outbox(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say which outbox."""
    command = click.option(
        "--outbox",
        "url",
        metavar="URL",
        help="The outbox itself, as sqlite:///moe-outbox.db.",
    )(command)
    return click.option(
        "--config",
        metavar="FILE",
        help="The settings that name it; without them moe.yml, where there is one.",
    )(command)


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
reveal = click.option(
    "--reveal", is_flag=True, help="Show the customer and the payload, too."
)


@outbox.command(epilog=EXIT_CODES)
@on_an_outbox
@as_json
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
            "oldest_age": _age(oldest[0]) if oldest else None,
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


def delivery_rows(delivery: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield how the relays do that have noted themselves, as rows of a table."""
    if delivery["relays"] == 0:
        yield "relays", "none has noted itself in this outbox"
    else:
        yield "relays", str(delivery["relays"])
        yield "delivered", f"{delivery['delivered_per_minute']:,.0f} a minute"
    if (failed_at := delivery["failed_at"]) is not None:
        yield "last failure", f"{duration(time.time() - failed_at)} ago"
    if (next_try_at := delivery["next_try_at"]) is not None:
        yield "next try", f"in {duration(max(0.0, next_try_at - time.time()))}"
    if delivery["delivery_problem"]:
        yield "problem", printable(delivery["delivery_problem"])


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
@as_json
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
    described = [_described(one, reveal=reveal) for one in found]
    if as_json:
        click.echo(json.dumps(described, indent=2))
    elif not described:
        click.echo("no dead letters" if dead else "nothing waits")
    else:
        last = "reason" if dead else "due_in"
        names = ["id", "action", "age", "attempts", last]
        names += ["customer_id", "uuid"] if reveal else []
        heads = [name.upper().replace("_", " ") for name in names]
        rows = [[_cell(name, one.get(name)) for name in names] for one in described]
        click.echo("\n".join(table([heads, *rows])))


@outbox.command(epilog=EXIT_CODES)
@on_an_outbox
@click.argument("id")
@reveal
@as_json
def show(
    config: str | None, url: str | None, id: str, reveal: bool, as_json: bool
) -> None:
    """Show one event, waiting or dead, by the ID that 'list' prints."""
    _, found = use_outbox(config, url, lambda outbox: outbox.find(id))
    if found is None:
        stop([f"{id}: no event has this id: it may have been delivered"])
    described = _described(found, reveal=reveal)
    if as_json:
        click.echo(json.dumps(described, indent=2))
        return
    rows = [(name, _cell(name, value)) for name, value in described.items()]
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
    _check_choice(ids, everything)

    async def run(outbox: Outbox) -> int:
        return await _step_by_step(
            "replaying",
            len(ids) or (await outbox.count()).dead,
            ids,
            lambda part, limit: outbox.replay(ids=part, limit=limit),
        )

    _, replayed = use_outbox(config, url, run)
    _report("replayed", replayed, ids)


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
    _check_choice(ids, everything)

    async def count(outbox: Outbox) -> int:
        counts = await outbox.count()
        return counts.waiting if kind == "waiting" else counts.dead

    async def run(outbox: Outbox) -> int:
        return await _step_by_step(
            "purging",
            total,
            ids,
            lambda part, limit: outbox.purge(kind, ids=part, limit=limit),
        )

    address, held = use_outbox(config, url, count)
    total = len(ids) or held
    if total and not yes:
        what = "waiting events" if kind == "waiting" else "dead letters"
        click.confirm(f"Delete {total:,} {what} of {address}?", abort=True, err=True)
    _, purged = use_outbox(config, url, run)
    _report("purged", purged, ids)


@outbox.command(
    epilog=f"""\b
Examples:
  moe-middleware outbox export events.jsonl
  moe-middleware outbox export --dead - | gzip > dead.jsonl.gz

The file holds all there is to know, ids of customers included; only its owner
may read it. The outbox keeps what it holds.

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
        with _new_file(file) as out, _progress("exporting", total) as advance:
            written = 0
            if waiting or both:
                written += await _export(out, advance, outbox.waiting)
            if dead or both:
                written += await _export(out, advance, outbox.dead_letters)
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
        with _old_file(file) as lines, _progress("importing", _size(file)) as advance:
            for page in _pages(lines):
                await outbox.restore([_record(number, line) for number, line in page])
                taken += len(page)
                advance(sum(len(line) for _, line in page))
        return taken

    if file != "-":
        # All of it or nothing, as far as a look can tell.
        with _old_file(file) as lines:
            for number, line in enumerate(lines, 1):
                _record(number, line)
    _, taken = use_outbox(config, url, run, make=True)
    click.echo(f"imported {taken:,}", err=True)


# --- which outbox ----------------------------------------------------------


def use_outbox(
    config: str | None,
    url: str | None,
    use: Callable[[Outbox], Awaitable[T]],
    *,
    make: bool = False,
) -> tuple[str, T]:
    """Open the outbox, use it and close it; return its address and the result."""
    from ..models.errors import OutboxError
    from ..outbox import open_outbox
    from ..settings.variables import VariableError

    try:
        events, workspace_id = _settings(config, url)
    except VariableError as error:
        stop([error])
    _check_place(events, workspace_id, make=make)
    # What is wrong with the store is an answer or an error of the command itself;
    # without any handler Python would write log lines to stderr, too.
    logging.getLogger("moe_middleware").addHandler(logging.NullHandler())

    async def run() -> T:
        opened = open_outbox(events, workspace_id=workspace_id)
        try:
            return await use(opened)
        finally:
            opened.close()

    try:
        return events.outbox.shown, asyncio.run(run())
    except OutboxError as error:
        stop([error])


def _settings(config: str | None, url: str | None) -> tuple[EventSettings, str]:
    """Return the settings of events, and the workspace's id."""
    from ..settings.variables import Variables

    if url is None:
        settings = load_settings(config)
        return settings.events, settings.workspace.id
    workspace_id = Variables(os.environ).get("MOE_WORKSPACE_ID") or ""
    events = _events_at(url)
    if events.outbox.is_redis and not workspace_id:
        # One Redis may hold several workspaces' events.
        workspace_id = load_settings(config).workspace.id
    return events, workspace_id


def _events_at(url: str) -> EventSettings:
    from pydantic import ValidationError

    from ..settings.sections import EventSettings

    try:
        return EventSettings.model_validate({"outbox": url})
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise click.BadParameter(said, param_hint="--outbox") from None


def _check_place(events: EventSettings, workspace_id: str, *, make: bool) -> None:
    """See that there is something to look at: nothing is made by looking."""
    from ..outbox import journal_prefix
    from ..outbox.journal_files import JournalFiles

    address = events.outbox
    if address.is_memory:
        stop(["memory: is inside the server's process: other processes cannot read it"])
    path = address.file
    if path is None or make or os.path.exists(path):
        return
    # A process may have ended before it made the file.
    if not JournalFiles(journal_prefix(events, workspace_id)).exist():
        stop(
            [
                f"{path}: there is no such file: either nothing was ever appended, or "
                "the path is relative to another directory"
            ]
        )


# --- long work -------------------------------------------------------------


def _check_choice(ids: Sequence[str], everything: bool) -> None:
    if bool(ids) == everything:
        raise click.UsageError("name one ID or more, or say --all")


async def _step_by_step(
    label: str,
    total: int,
    ids: Sequence[str],
    step: Callable[[Sequence[str] | None, int | None], Awaitable[int]],
) -> int:
    """Do something to chosen events, or to as many of all as there were."""
    done = 0
    with _progress(label, total) as advance:
        if ids:
            return await step(ids, None)
        while done < total:
            changed = await step(None, min(PAGE, total - done))
            if not changed:
                break
            done += changed
            advance(changed)
    return done


def _report(verb: str, count: int, ids: Sequence[str]) -> None:
    if count < len(set(ids)):
        stop([f"{verb} {count:,} of {len(set(ids)):,}: the others are not there"])
    click.echo(f"{verb} {count:,}")


@contextlib.contextmanager
def _progress(label: str, length: int) -> Iterator[Callable[[int], None]]:
    """Show a bar, on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    with click.progressbar(length=length, label=label, file=sys.stderr) as bar:
        yield bar.update


# --- files -----------------------------------------------------------------


@contextlib.contextmanager
def _new_file(name: str) -> Iterator[IO[bytes]]:
    if name == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        stop([f"{name}: is there already: name a new file"])
    except OSError as error:
        stop([f"{name}: cannot be written: {error.strerror}"])
    with open(handle, "wb") as file:
        yield file


@contextlib.contextmanager
def _old_file(name: str) -> Iterator[IO[bytes]]:
    if name == "-":
        yield sys.stdin.buffer
        return
    try:
        file = open(name, "rb")  # noqa: SIM115 - closed below
    except OSError as error:
        stop([f"{name}: cannot be read: {error.strerror}"])
    with file:
        yield file


def _size(name: str) -> int:
    return 0 if name == "-" else os.path.getsize(name)


async def _export(
    out: IO[bytes],
    advance: Callable[[int], None],
    look: Callable[..., Awaitable[Sequence[WaitingEvent | DeadLetter]]],
) -> int:
    written = 0
    after: EventId | None = None
    while page := await look(limit=PAGE, after=after):
        out.write(b"".join(_line(one) for one in page))
        advance(len(page))
        written += len(page)
        after = page[-1].id
    return written


def _line(one: WaitingEvent | DeadLetter) -> bytes:
    import orjson

    from ..outbox import DeadLetter

    about: dict[str, Any] = {"kind": "waiting", "attempts": one.attempts}
    if isinstance(one, DeadLetter):
        about |= {"kind": "dead", "reason": one.reason, "buried_at": one.buried_at}
    if one.event:
        about["event"] = orjson.Fragment(one.body)
    else:
        about |= {"event": None, "body": base64.b64encode(one.body).decode()}
    return orjson.dumps(about, option=orjson.OPT_APPEND_NEWLINE)


def _pages(lines: Iterable[bytes]) -> Iterator[list[tuple[int, bytes]]]:
    page: list[tuple[int, bytes]] = []
    for numbered in enumerate(lines, 1):
        page.append(numbered)
        if len(page) == PAGE:
            yield page
            page = []
    if page:
        yield page


def _record(number: int, line: bytes) -> WaitingEvent | DeadLetter:
    import orjson

    from ..outbox import DeadLetter, WaitingEvent

    try:
        about = orjson.loads(line)
        if about["event"] is None:
            body = base64.b64decode(about["body"], validate=True)
        else:
            body = orjson.dumps(about["event"])
        if about["kind"] == "waiting":
            return WaitingEvent(id=0, body=body)
        reason, buried_at = str(about["reason"]), float(about["buried_at"])
    except (ValueError, TypeError, KeyError):
        stop([f"line {number}: this is no event that 'export' wrote"])
    return DeadLetter(id=0, body=body, reason=reason, buried_at=buried_at)


# --- what is shown ---------------------------------------------------------


def _described(one: WaitingEvent | DeadLetter, *, reveal: bool) -> dict[str, Any]:
    """Return what may be shown of an event: nobody's id, no payload, unless asked."""
    from ..outbox import DeadLetter

    event = one.event
    about: dict[str, Any] = {
        "id": one.id,
        "kind": "waiting",
        "action": event.action if event else None,
        "age": _age(one),
        "attempts": one.attempts,
    }
    if isinstance(one, DeadLetter):
        # The API's description, behind the colon, may quote what it was sent.
        reason = one.reason if reveal else one.reason.partition(":")[0]
        about |= {"kind": "dead", "reason": reason, "buried_at": one.buried_at}
    else:
        about["due_in"] = max(0.0, one.claimable_at - time.time())
    if reveal and event:
        about |= {
            "customer_id": event.customer_id,
            "uuid": event.uuid,
            "occurred_at": event.occurred_at,
            "platform": event.platform,
            "b_id": event.b_id,
            "experience_context": event.experience_context,
            "user_attributes": event.user_attributes,
            "user_timezone_offset": event.user_timezone_offset,
        }
    elif reveal:
        about["body"] = one.body.decode("utf-8", "backslashreplace")
    return about


def _age(one: WaitingEvent | DeadLetter) -> float | None:
    """Return how long ago it happened, in seconds."""
    event = one.event
    return None if event is None else max(0.0, time.time() - event.occurred_at)


def _cell(name: str, value: Any) -> str:
    if name in ("age", "due_in"):
        return duration(value) if value or name == "age" else "now"
    if value is None:
        return "-"
    return printable(value)
