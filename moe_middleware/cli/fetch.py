"""The command ``fetch``: prints a visitor's experiences."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from . import options
from .command_settings import load_settings
from .terminal import did_you_mean, printable, stop, table

if TYPE_CHECKING:
    from ..client.client import MoEngageClient
    from ..models.experience import Experience
    from ..models.experiences import Experiences
    from ..models.identity import Identity
    from ..settings.settings import Settings

PATIENCE = 10.0
"""The time limit, in seconds: a person has more patience than a page."""


@click.command(
    epilog="""\b
Examples:
  moe-middleware fetch homepage-banner --customer 42
  moe-middleware fetch --visitor 3f0c... --attribute utm_medium=email
  moe-middleware fetch hero --identifier u_em=ada@shop.example --json
  MOE_DATA_CENTER=sandbox moe-middleware fetch

The exit code is 0 for an answer, even an empty one, and 1 for a failure."""
)
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@options.visitor
@options.config
@options.as_json
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
        found, statuses = asyncio.run(_ask(settings, keys, identity, attributes))
    except MoEngageError as error:
        from ..client.failures import advice

        about = advice(settings.workspace, error)
        stop([f"{type(error).__name__}: {error}", about])
    answers = [found[key] for key in dict.fromkeys((*keys, *found))]
    if as_json:
        click.echo(json.dumps({one.key: _as_json(one) for one in answers}, indent=2))
    else:
        click.echo(answer_text(answers, statuses))


async def _ask(
    settings: Settings,
    keys: Sequence[str],
    identity: Identity,
    attributes: dict[str, str],
) -> tuple[Experiences, dict[str, str]]:
    from ..client.client import MoEngageClient

    async with MoEngageClient(settings) as client:
        found = await client.fetch(
            keys, identity=identity, attributes=attributes, timeout=PATIENCE
        )
        return found, {} if all(found[key] for key in keys) else await _listed(client)


async def _listed(client: MoEngageClient) -> dict[str, str]:
    """Return the statuses of the workspace's experiences, if it tells them."""
    from ..models.errors import MoEngageError

    try:
        return {one.key: one.status for one in await client.metadata()}
    except MoEngageError:
        # The answer is there without it.
        return {}


def answer_text(
    answers: Sequence[Experience], statuses: Mapping[str, str] | None = None
) -> str:
    """Return the lines for experiences, given the statuses of the workspace's."""
    if not answers:
        return "nothing: the visitor is in no audience of any experience"
    return "\n\n".join("\n".join(_answer_lines(one, statuses or {})) for one in answers)


def _answer_lines(experience: Experience, statuses: Mapping[str, str]) -> Iterator[str]:
    from ..models.reasons import Reason

    yield printable(experience.key)
    if not experience:
        reason = experience.reason or Reason.NO_MATCH
        about = _why_no_match(experience.key, statuses)
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


def _why_no_match(key: str, statuses: Mapping[str, str]) -> str:
    if not statuses:
        return " (no audience matches, or the key does not exist)"
    if status := statuses.get(key):
        if status == "Active":
            return " (no audience matches)"
        return f" (the experience is {printable(status)})"
    about = did_you_mean(key, statuses)
    return f" (the workspace has no published experience of this key{about})"


def _as_json(experience: Experience) -> dict[str, Any]:
    return {
        "source": experience.source,
        "reason": experience.reason,
        "payload": dict(experience.payload),
        "experience_context": dict(experience.experience_context),
    }
