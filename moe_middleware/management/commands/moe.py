"""``manage.py moe check``: the commands, with the settings that MOENGAGE names."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from typing import Any

import click
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...cli import main
from ...cli.command_settings import embedding
from ...cli.terminal import stop
from ...django.configuration import project_settings
from ...settings.settings import Settings


class Command(BaseCommand):
    """Runs a command in the set-up project, which its functions may need."""

    help = (
        "MoEngage Personalize: check, fetch, preview, outbox, relay, status and the "
        "other commands of moe-middleware, with the settings that MOENGAGE names. "
        "'manage.py moe check --help' has the options of one."
    )
    # The commands report wrong settings themselves.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("args", metavar="command", nargs=argparse.REMAINDER)

    def handle(self, *args: str, **options: Any) -> None:
        given = [str(one) for one in args] or ["--help"]
        token = embedding.set(_settings)
        try:
            # call_command(..., stdout=...) wants the output there.
            with ExitStack() as stack:
                if options.get("stdout") is not None:
                    stack.enter_context(redirect_stdout(options["stdout"]))
                if options.get("stderr") is not None:
                    stack.enter_context(redirect_stderr(options["stderr"]))
                ended = main(given, prog_name="manage.py moe", standalone_mode=False)
        except click.ClickException as error:
            raise CommandError(error.format_message(), returncode=2) from error
        except click.Abort:
            sys.exit(1)
        except SystemExit as ended_well:
            if ended_well.code:
                raise
            return
        finally:
            embedding.reset(token)
        if isinstance(ended, int) and ended:
            sys.exit(ended)


def _settings(**keywords: Any) -> Settings:
    try:
        return project_settings(**keywords)
    except ImproperlyConfigured as error:
        stop([error])
