"""Finds the outbox of a command: its options, its settings, and whether it exists."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import click

from . import options
from .command_settings import load_settings
from .terminal import stop

if TYPE_CHECKING:
    from ..outbox import Outbox
    from ..settings.sections import EventSettings

T = TypeVar("T")


def on_an_outbox(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that name the outbox."""
    command = click.option(
        "--outbox",
        "url",
        metavar="URL",
        help="The outbox itself, as sqlite:///moe-outbox.db.",
    )(command)
    return options.config(command)


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
    # The command itself reports the store's problems; without any handler Python would
    # print log lines to stderr, too.
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
    events = _events_at(url)
    if not events.outbox.is_redis:
        return events, ""  # whichever workspace's events it has
    # One Redis may have the events of several workspaces.
    workspace_id = Variables(os.environ).get("MOE_WORKSPACE_ID")
    return events, workspace_id or load_settings(config).workspace.id


def _events_at(url: str) -> EventSettings:
    from pydantic import ValidationError

    from ..settings.sections import EventSettings

    try:
        return EventSettings.model_validate({"outbox": url})
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise click.BadParameter(reason, param_hint="--outbox") from None


def _check_place(events: EventSettings, workspace_id: str, *, make: bool) -> None:
    """Check that the outbox exists: a command creates none."""
    from ..outbox import journal_prefix
    from ..outbox.journal_files import JournalFiles

    address = events.outbox
    if address.is_memory:
        stop(["memory: is inside the server's process: other processes cannot read it"])
    path = address.file
    if path is None or make or os.path.exists(path):
        return
    # A process may have ended before it created the file.
    if not JournalFiles(journal_prefix(events, workspace_id)).names():
        stop(
            [
                f"{path}: there is no such file: either nothing was ever appended, or "
                "the path is relative to another directory"
            ]
        )
