"""The command ``types``: writes the classes of payloads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..models.experience import EMPTY
from . import options
from .command_settings import load_settings
from .terminal import did_you_mean, stop

if TYPE_CHECKING:
    from ..settings.settings import Settings
    from .known_payloads import Payloads


@click.command(
    epilog="""\b
Examples:
  moe-middleware types --customer alice --customer bob --write shop_types.py
  moe-middleware types --workspace workspace.yml --write shop_types.py
  moe-middleware types homepage-banner --customer alice

Each sample customer is fetched for, with all experiences: take customers of all
audiences. A value that one payload lacks is NotRequired. It counts no impression."""
)
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@click.option(
    "--workspace",
    metavar="FILE",
    type=click.Path(path_type=Path, readable=False),
    help="Take all variations of a sandbox's workspace file, without a call.",
)
@click.option(
    "--customer",
    "customers",
    metavar="ID",
    multiple=True,
    help="A sample customer to fetch for; left out, an unknown visitor. Repeatable.",
)
@click.option(
    "--attribute",
    "attributes",
    metavar="NAME=VALUE",
    multiple=True,
    callback=options.pairs,
    help="An in-session attribute of these fetches. Repeatable.",
)
@options.config
@click.option(
    "--write",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write this file instead of the terminal; it changes only if the types do.",
)
def types(
    keys: tuple[str, ...],
    workspace: Path | None,
    customers: tuple[str, ...],
    attributes: dict[str, str],
    config: str | None,
    write: Path | None,
) -> None:
    """Write a TypedDict for each experience's payload, for experiences.typed.

    Without a KEY it writes those of all experiences.
    """
    from .class_source import source_of

    known = payloads_of(workspace or load_settings(config), customers, attributes)
    unknown = [key for key in keys if key not in known]
    if unknown:
        stop(f"{key}: {_WITHOUT}{did_you_mean(key, known)}" for key in unknown)
    wanted = {key: known[key] for key in keys or known}
    source = source_of(
        {key: [one.values for one in payloads] for key, payloads in wanted.items()}
    )
    if write is None:
        click.echo(source, nl=False)
        return
    try:
        before = write.read_text("utf-8", "replace") if write.is_file() else None
        if write.exists() and not _is_ours(before or ""):
            stop([f"{write}: not written by this command: name a new file"])
        if before != source:
            write.write_text(source, encoding="utf-8")
    except OSError as error:
        stop([f"{write}: cannot be written: {error.strerror}"])
    state = "as before" if before == source else "written"
    click.echo(f"{write}: {len(wanted)} types, {state}")


def payloads_of(
    source: Path | Settings,
    customers: Sequence[str],
    attributes: Mapping[str, str] = EMPTY,
) -> Payloads:
    """Return the payloads of a workspace; on a failure the command ends.

    Args:
        source: A sandbox's workspace file, or the settings to ask a workspace with.
        customers: The customers to ask for; without any, an unknown visitor.
        attributes: The in-session attributes to ask with.
    """
    from ..models.errors import MoEngageError, SettingsError
    from ..models.identity import Identity
    from .known_payloads import payloads_of_answers, payloads_of_file

    if isinstance(source, Path):
        try:
            return payloads_of_file(source)
        except SettingsError as error:
            stop(error.problems)
    visitors = [Identity(customer_id=one) for one in customers] or [Identity()]
    try:
        return payloads_of_answers(source, visitors, attributes)
    except MoEngageError as error:
        from ..client.failures import advice

        about = advice(source.workspace, error)
        stop([f"{type(error).__name__}: {error}", about])


def _is_ours(text: str) -> bool:
    from .class_source import MARK

    return text.startswith(MARK)


_WITHOUT = (
    "no payload of it is known: name customers who get it (--customer), or a workspace "
    "file that has it (--workspace)"
)
