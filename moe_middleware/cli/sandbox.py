"""The command ``sandbox``: serves the look-alike of the API."""

from __future__ import annotations

from pathlib import Path

import click

from .terminal import stop


@click.command(
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
    type=click.Path(readable=False),
    help="The workspace file; left out, a sample tea shop.",
)
@click.option(
    "--db",
    metavar="FILE",
    type=click.Path(readable=False),
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
    type=click.Path(readable=False),
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
