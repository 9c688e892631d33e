"""A run of our commands, with stdout and stderr apart in every version of click."""

from __future__ import annotations

import inspect
from typing import Any

from click.testing import CliRunner, Result

from moe_middleware.cli import main


def cli_runner() -> CliRunner:
    """Return a runner whose results have a ``stderr``, as click 8.2's always have."""
    options: dict[str, Any] = {}
    if "mix_stderr" in inspect.signature(CliRunner).parameters:
        options["mix_stderr"] = False
    return CliRunner(**options)


def run(*arguments: str, **environ: str) -> Result:
    """Run one of our commands; errors that it does not handle are raised."""
    return cli_runner().invoke(main, arguments, env=environ, catch_exceptions=False)
