"""The command ``schema``: prints the JSON Schema of ``moe.yml``, for editors."""

from __future__ import annotations

import json

import click


@click.command(
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
