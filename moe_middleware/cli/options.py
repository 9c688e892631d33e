"""The options that several commands have."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click

Command = Callable[..., None]


def pairs(
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


config = click.option(
    "--config",
    metavar="FILE",
    help="The settings; left out, moe.yml if it exists.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def visitor(command: Command) -> Command:
    """Add the options that describe a visitor."""
    for option in (
        click.option(
            "--attribute",
            "attributes",
            metavar="NAME=VALUE",
            multiple=True,
            callback=pairs,
            help="An in-session attribute, as utm_medium=email. Repeatable.",
        ),
        click.option(
            "--identifier",
            "identifiers",
            metavar="NAME=VALUE",
            multiple=True,
            callback=pairs,
            help="A further identifier, as u_em=ada@shop.example. Repeatable.",
        ),
        click.option("--visitor", metavar="ID", help="The id of an anonymous browser."),
        click.option("--customer", metavar="ID", help="The id of a known customer."),
    ):
        command = option(command)
    return command
