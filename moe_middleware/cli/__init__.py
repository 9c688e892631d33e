"""The command line: check a file, ask the workspace, run the sandbox."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..version import __version__
from .check import check
from .command_settings import load_settings
from .explain import explain
from .outbox import outbox
from .preview import preview
from .relay import relay
from .status import status
from .terminal import printable, stop, table

if TYPE_CHECKING:
    from ..models.experience import Experience
    from ..models.experiences import Experiences
    from ..models.identity import Identity
    from ..settings.settings import Settings

PATIENCE = 10.0
"""How long ``fetch`` waits, in seconds: a person is more patient than a page."""


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 88},
    epilog="""\b
Examples:
  moe-middleware check                     check moe.yml and show its routes
  moe-middleware fetch hero --customer 42  fetch hero for a customer
  moe-middleware sandbox                   serve the sandbox for development
  moe-middleware schema > moe.schema.json  for completion in your editor
  moe-middleware relay                     deliver waiting events
  moe-middleware outbox status             count waiting events, dead letters
  moe-middleware status                    show all servers and relays

The environment overrides the file: MOE_WORKSPACE_ID, MOE_API_KEY (or
MOE_API_KEY_FILE), MOE_DATA_CENTER, MOE_BASE_URL, MOE_SECRET_KEY, MOE_OUTBOX.
MOE_CONFIG names the file.""",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
def main() -> None:
    """MoEngage Personalize for Python web apps."""


main.add_command(check)
main.add_command(relay)
main.add_command(outbox)
main.add_command(preview)
main.add_command(explain)
main.add_command(status)


@main.command(
    epilog="""\b
Example, with a first line in moe.yml that editors follow:
  moe-middleware schema > moe.schema.json
  # yaml-language-server: $schema=moe.schema.json"""
)
@click.option(
    "--workspace",
    is_flag=True,
    help="That of the sandbox's workspace.yml instead.",
)
def schema(workspace: bool) -> None:
    """Print the JSON Schema of moe.yml, for editors."""
    if workspace:
        from ..sandbox.workspace.file import workspace_schema

        click.echo(json.dumps(workspace_schema(), indent=2))
        return
    from ..settings.settings import Settings

    click.echo(json.dumps(Settings.json_schema(), indent=2))


@main.command(
    epilog="""\b
Examples:
  moe-middleware sandbox --port 8787
  moe-middleware sandbox --write-sample workspace.yml   to begin your own with
  moe-middleware sandbox --workspace workspace.yml --db sandbox.db
  MOE_DATA_CENTER=sandbox MOE_BASE_URL=http://127.0.0.1:8787/v1 \\
      moe-middleware fetch

The file is read again when it changes; one with a mistake in it is refused at the
start, and later leaves the last good one in place."""
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Where to listen; 0.0.0.0 lets other machines in.",
)
@click.option(
    "--port",
    default=8787,
    show_default=True,
    type=click.IntRange(0, 65_535),
    help="The port; 0 takes any free one.",
)
@click.option(
    "--workspace",
    metavar="FILE",
    type=click.Path(),
    help="The workspace file; left out, a sample tea shop.",
)
@click.option(
    "--db",
    metavar="FILE",
    type=click.Path(),
    help="The SQLite file for the counts; left out, memory.",
)
@click.option(
    "--token",
    envvar="MOE_SANDBOX_TOKEN",
    default="",
    help="The token for pages and tools. Left out, one is made and printed if other "
    "machines can reach --host.",
)
@click.option(
    "--strict",
    is_flag=True,
    help="Refuse calls that MoEngage's newest documents do not allow.",
)
@click.option(
    "--write-sample",
    metavar="FILE",
    type=click.Path(),
    help="Write the tea shop's workspace to a new file, and stop.",
)
def sandbox(
    host: str,
    port: int,
    workspace: str | None,
    db: str | None,
    token: str,
    strict: bool,
    write_sample: str | None,
) -> None:
    """Serve a local look-alike of MoEngage's API."""
    from ..models.errors import SettingsError
    from ..sandbox import serve

    if write_sample is not None:
        _write_sample(Path(write_sample))
        return
    try:
        serve(
            host=host,
            port=port,
            workspace=workspace,
            db=db or ":memory:",
            strict=strict,
            token=token,
        )
    except SettingsError as error:
        stop(error.problems)


def _write_sample(path: Path) -> None:
    from ..sandbox.workspace.sample import sample_text

    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(sample_text())
    except FileExistsError:
        stop([f"{path}: is there already: name a new file"])
    except OSError as error:
        stop([f"{path}: cannot be written: {error.strerror}"])
    click.echo(f"{path}: written. Next: moe-middleware sandbox --workspace {path}")


def _pairs(
    _context: click.Context, _option: click.Parameter, given: Iterable[str]
) -> dict[str, str]:
    """Read NAME=VALUE options."""
    pairs = {}
    for text in given:
        name, found, value = text.partition("=")
        if not (name and found):
            raise click.BadParameter(f"{text!r} is not of the form NAME=VALUE")
        pairs[name] = value
    return pairs


@main.command(
    epilog="""\b
Examples:
  moe-middleware fetch homepage-banner --customer 42
  moe-middleware fetch --visitor 3f0c... --attribute utm_medium=email
  moe-middleware fetch hero --identifier u_em=ada@shop.example --json
  MOE_DATA_CENTER=sandbox moe-middleware fetch

The exit code is 0 for an answer, even an empty one, and 1 for a failure."""
)
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@click.option("--customer", metavar="ID", help="The id of a known customer.")
@click.option("--visitor", metavar="ID", help="The id of an anonymous browser.")
@click.option(
    "--identifier",
    "identifiers",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_pairs,
    help="A further identifier, as u_em=ada@shop.example. Repeatable.",
)
@click.option(
    "--attribute",
    "attributes",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_pairs,
    help="An in-session attribute, as utm_medium=email. Repeatable.",
)
@click.option(
    "--config",
    metavar="FILE",
    help="The settings; left out, moe.yml if it exists.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def fetch(
    keys: tuple[str, ...],
    customer: str | None,
    visitor: str | None,
    identifiers: dict[str, str],
    attributes: dict[str, str],
    config: str | None,
    as_json: bool,
) -> None:
    """Fetch the experiences KEY... for a visitor.

    Without a KEY it fetches all of them. It counts no impression.
    """
    import asyncio

    from ..models.errors import MoEngageError
    from ..models.identity import Identity

    settings = load_settings(config)
    identity = Identity(
        customer_id=customer, visitor_id=visitor, user_identifiers=identifiers
    )
    try:
        found = asyncio.run(_ask(settings, keys, identity, attributes))
    except MoEngageError as error:
        from ..client.failures import advice

        about = advice(settings.workspace, error)
        stop([f"{type(error).__name__}: {error}", about])
    answers = [found[key] for key in dict.fromkeys((*keys, *found))]
    if as_json:
        click.echo(json.dumps({one.key: _as_json(one) for one in answers}, indent=2))
    else:
        click.echo(_answer_text(answers))


async def _ask(
    settings: Settings,
    keys: Sequence[str],
    identity: Identity,
    attributes: dict[str, str],
) -> Experiences:
    from ..client.client import MoEngageClient

    async with MoEngageClient(settings) as client:
        return await client.fetch(
            keys, identity=identity, attributes=attributes, timeout=PATIENCE
        )


def _answer_text(answers: Sequence[Experience]) -> str:
    if not answers:
        return "nothing: the visitor is in no audience of any experience"
    return "\n\n".join("\n".join(_answer_lines(one)) for one in answers)


def _answer_lines(experience: Experience) -> Iterator[str]:
    from ..models.reasons import Reason

    yield printable(experience.key)
    if not experience:
        about = " (no audience matches, or the key does not exist)"
        reason = experience.reason or Reason.NO_MATCH
        yield f"  nothing: {reason}{about if reason is Reason.NO_MATCH else ''}"
        return
    context = experience.experience_context
    rows = [
        ("source", experience.source),
        ("variation", printable(context.get("moe_variation_id", "-"))),
        ("audience", printable(context.get("audience_name", "-"))),
    ]
    yield from (f"  {line}" for line in table(rows))
    if not experience.payload:
        yield "  the payload is empty"
        return
    yield "  payload"
    values = [(printable(k), printable(v)) for k, v in experience.payload.items()]
    yield from (f"    {line}" for line in table(values))


def _as_json(experience: Experience) -> dict[str, Any]:
    return {
        "source": experience.source,
        "reason": experience.reason,
        "payload": dict(experience.payload),
        "experience_context": dict(experience.experience_context),
    }
