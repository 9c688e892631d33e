"""What the commands share that print signed links: durations, URLs, the output."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from urllib.parse import urlsplit, urlunsplit

import click

from .terminal import stop

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


def echo_link(link: str, about: str, expires_at: float) -> None:
    """Print a link, and on the standard error what it does and until when."""
    click.echo(link)
    until = datetime.fromtimestamp(expires_at, UTC)
    click.echo(f"{about}, until {until:%Y-%m-%d %H:%M} UTC", err=True)
