"""The common parts of commands that print signed links: durations, URLs, output."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import click

from . import options
from .terminal import stop

if TYPE_CHECKING:
    from ..settings.settings import Settings

LONGEST = 30 * 86_400
"""The longest life of a link, in seconds."""

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION = re.compile(rf"([1-9][0-9]{{0,8}})([{''.join(_UNITS)}])")


def duration(_context: click.Context, _option: click.Parameter, given: str) -> int:
    """Read a duration as 30m, 1h or 7d, in seconds."""
    found = _DURATION.fullmatch(given)
    if found is None:
        raise click.BadParameter(f"{given!r} is no duration: write 30m, 1h or 7d")
    seconds = int(found[1]) * _UNITS[found[2]]
    if seconds > LONGEST:
        raise click.BadParameter("a link works for 30 days at most: write 30d")
    return seconds


def on_a_link(command: options.Command) -> options.Command:
    """Add the options that every signed link has."""
    for option in (
        options.config,
        click.option(
            "--expires",
            "lasts",
            metavar="TIME",
            default="1h",
            show_default=True,
            callback=duration,
            help="How long it works, as 30m, 1h or 7d.",
        ),
        click.option(
            "--url",
            default="/",
            show_default=True,
            help="The page to open: https://shop.example/path, or a path alone.",
        ),
    ):
        command = option(command)
    return command


def secrets_of(settings: Settings) -> list[str]:
    """Return the keys that sign links, the newest first; without any, stop."""
    if settings.secret_key is None:
        stop(["secret_key: missing: it signs the links (or MOE_SECRET_KEY)"])
    return [secret.get_secret_value() for secret in settings.secret_key]


def split_url(url: str) -> tuple[str, str]:
    """Return a URL's site, which may be empty, and the rest of it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        stop([f"--url: {url!r} is no URL"])
    is_path = not parts.scheme and not parts.netloc and url.startswith("/")
    if not is_path and (parts.scheme not in ("http", "https") or not parts.hostname):
        stop([f"--url: {url!r}: write https://shop.example/path, or a path alone"])
    site = f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""
    rest = urlunsplit(("", "", parts.path or "/", parts.query, parts.fragment))
    return site, rest


def echo_link(
    link_to: Callable[[str, int], str], url: str, lasts: int, about: str
) -> None:
    """Print a link to a page, and on the standard error what it does and until when.

    Args:
        link_to: Makes it, of the page's path and the link's end in unix seconds.
        url: The page.
        lasts: Its life, in seconds.
        about: What it does.
    """
    site, target = split_url(url)
    expires_at = int(time.time()) + lasts
    try:
        link = link_to(target, expires_at)
    except (ValueError, TypeError) as error:
        stop([error])
    click.echo(f"{site}{link}")
    until = datetime.fromtimestamp(expires_at, UTC)
    click.echo(f"{about}, until {until:%Y-%m-%d %H:%M} UTC", err=True)
