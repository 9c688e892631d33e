"""The command ``overlay``: makes signed links that turn the overlay on."""

from __future__ import annotations

import time

import click

from .command_settings import load_settings
from .signed_links import echo_link, on_a_link, secrets_of
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
@on_a_link
def overlay(url: str, lasts: int, config: str | None) -> None:
    """Print a link that turns the overlay on in one browser."""
    from ..browser.overlay_access import OVERLAY, OverlayLinks

    settings = load_settings(config)
    if settings.development.overlay == "off":
        stop(["development.overlay: off: write link, or no page shows the overlay"])
    links = OverlayLinks(
        secrets_of(settings), path=f"{settings.clicks.path}/{OVERLAY}/", clock=time.time
    )
    echo_link(links.make, url, lasts, "turns the overlay on")
