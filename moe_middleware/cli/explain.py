"""The command ``explain``: the sandbox's decisions for a visitor, with reasons."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options
from .terminal import not_in_workspace, printable, stop

if TYPE_CHECKING:
    from ..sandbox import Sandbox

_LABELS = {
    "served": "served",
    "no_match": "no match",
    "control_group": "control group",
    "not_active": "not active",
    "withheld": "withheld",
}


@click.command(
    epilog="""\b
Examples:
  moe-middleware explain --customer alice
  moe-middleware explain promo-strip --attribute utm_medium=email
  moe-middleware explain hero --workspace shop.yml --profile tier=gold --json

It explains the sandbox's workspace, by the same code as its API and its page Explain.
A real workspace does not publish its rules. The exit code is 1 for an unknown KEY."""
)
@click.argument("key", required=False, default="")
@click.option(
    "--workspace",
    metavar="FILE",
    type=click.Path(path_type=Path, readable=False),
    help="The workspace file; left out, a sample tea shop.",
)
@options.visitor
@click.option(
    "--profile",
    metavar="NAME=VALUE",
    multiple=True,
    callback=options.pairs,
    help="A user attribute, added to the profile. Repeatable.",
)
@options.as_json
def explain(
    key: str,
    workspace: Path | None,
    customer: str | None,
    visitor: str | None,
    identifiers: Mapping[str, str],
    attributes: Mapping[str, str],
    profile: Mapping[str, str],
    as_json: bool,
) -> None:
    """Explain what a visitor gets of the sandbox's experiences, or of KEY."""
    from ..sandbox.pages.explain import explanation
    from ..sandbox.pages.visits import VisitForm
    from ..sandbox.protocol.refusals import Refusal

    form = VisitForm(
        experience=key,
        customer_id=customer or "",
        visitor_id=visitor or "",
        identifiers=_lines_of(identifiers),
        session=_lines_of(attributes),
        attributes=_lines_of(profile),
    )
    sandbox = _open(workspace)
    known = [one.key for one in sandbox.workspace.experiences]
    try:
        if key and key not in known:
            stop([not_in_workspace(key, known)])
        found = explanation(sandbox, form)
    except Refusal as refusal:
        stop([refusal.description])
    finally:
        sandbox.close()
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False, default=str))
        return
    for one in found["experiences"]:
        for line in _lines(one):
            click.echo(printable(line))


def _open(workspace: Path | None) -> Sandbox:
    from ..models.errors import SettingsError
    from ..sandbox import Sandbox

    try:
        return Sandbox(workspace)
    except SettingsError as error:
        stop(error.problems)


def _lines_of(pairs: Mapping[str, str]) -> str:
    return "\n".join(f"{name}={value}" for name, value in pairs.items())


def _lines(one: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{one['experience_key']}: {_LABELS[one['outcome']]}",
        f"  {one['reason']}",
    ]
    for audience in one["audiences"]:
        matches = "matches" if audience["matches"] else "does not match"
        lines.append(f"  {audience['name']}: {matches}")
        for rule in audience["rules"]:
            mark = "yes" if rule["holds"] else "no "
            about = f"  (visitor: {rule['visitor']})" if rule["visitor"] else ""
            indent = "  " * rule["depth"]
            lines.append(f"    {mark}  {indent}{rule['rule']}{about}")
    lines += [f"  = {name}: {value}" for name, value in one["payload"].items()]
    return lines
