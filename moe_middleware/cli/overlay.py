"""The command ``overlay``: makes signed links that turn the overlay on."""

from __future__ import annotations

import time

import click

from .command_settings import load_settings
from .signed_links import duration, echo_link, split_url
from .terminal import stop


@click.command(
    epilog="""\b
Examples:
  moe-middleware overlay --url https://shop.example
  moe-middleware overlay --url https://shop.example/cart --expires 7d

The output is the link alone. A browser that opens it gets the overlay on the HTML
pages of the site until the link expires, or until "Turn the overlay off". The overlay
shows the experiences of that browser's own requests. A new secret_key invalidates all
links."""
)
@click.option(
    "--url",
    default="/",
    show_default=True,
    help="The page to open: https://shop.example/path, or a path alone.",
)
@click.option(
    "--expires",
    "lasts",
    metavar="TIME",
    default="1h",
    show_default=True,
    callback=duration,
    help="How long the link and the overlay work, as 30m, 1h or 7d.",
)
@click.option(
    "--config",
    metavar="FILE",
    help="The settings; without it moe.yml, where there is one.",
)
def overlay(url: str, lasts: int, config: str | None) -> None:
    """Print a link that turns the overlay on in one browser."""
    from ..browser.overlay_access import OVERLAY, OverlayLinks

    settings = load_settings(config)
    if settings.development.overlay == "off":
        stop(["development.overlay: off: write link, or no page shows the overlay"])
    if settings.secret_key is None:
        stop(["secret_key: missing: it signs the links (or MOE_SECRET_KEY)"])
    site, target = split_url(url)
    links = OverlayLinks(
        [secret.get_secret_value() for secret in settings.secret_key],
        path=f"{settings.clicks.path}/{OVERLAY}/",
        clock=time.time,
    )
    expires_at = int(time.time()) + lasts
    try:
        link = links.make(target, expires_at)
    except ValueError as error:
        stop([error])
    echo_link(f"{site}{link}", "turns the overlay on", expires_at)
