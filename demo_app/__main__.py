"""Start the shop: ``python -m demo_app --port 8000``."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from contextlib import suppress
from urllib.parse import urlencode

import uvicorn

from moe_middleware import SettingsError
from moe_middleware.sandbox import embedded
from moe_middleware.sandbox.listeners import (
    CannotListen,
    address_of,
    listen,
    token_for,
)

from .counted import sandbox_pages

WELCOME = """
  Tea & Thyme, a small shop personalised by moe_middleware

  Open   {site}/
  Try    consent, at the foot of the window: before it, nothing is counted
         another name at the top of the page: hero, prices and cart change
         the newsletter's link: {site}/?utm_medium=email
         the foot of every page: each impression and click counts once,
         and each experience has a link to preview another variation;
         below them, a link turns the developers' overlay on
         the cart of alice: its suggestion counts once it was on the screen
         the club: {site}/club leaves the counting to the Web SDK
  Look   {sandbox}
  Stop   Ctrl+C
"""


_ABOUT_TOKEN = """\
         Other machines may reach the shop, so the sandbox's pages ask for this
         token (or MOE_SANDBOX_TOKEN's): open the link once in each browser. It has"""


def main() -> None:
    options = _options()
    try:
        # Here, so that a mistake in the settings is one line and no traceback.
        from .app import app
    except SettingsError as error:
        sys.exit(str(error))
    listener = _listen(options.host, options.port)
    site = address_of(listener, options.host)
    token = os.environ.get("MOE_SANDBOX_TOKEN") or token_for(listener)
    if sandbox_pages(os.environ) == "/sandbox":
        embedded().token = token
    look = _where_to_look(site, token)
    print(WELCOME.format(site=site, sandbox=look), flush=True)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on"))
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listener])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo_app", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument(
        "--port",
        type=int,
        default=8000,
        help="the port to listen on; 0 takes a free one",
    )
    return parser.parse_args()


def _where_to_look(site: str, token: str) -> str:
    match sandbox_pages(os.environ):
        case None:
            return "at the reports in MoEngage's dashboard"
        case "/sandbox":
            shown = (
                f"?{urlencode({'token': token})}\n{_ABOUT_TOKEN}" if token else " has"
            )
            return f"at the sandbox: {site}/sandbox/{shown} reports and explanations"
        case elsewhere:
            return f"at the sandbox: {elsewhere}/ has reports and explanations"


def _listen(host: str, port: int) -> socket.socket:
    try:
        return listen(host, port)
    except CannotListen as error:
        sys.exit(
            f"Cannot listen on {host} port {port} ({error}). "
            f"Choose another: --port {port + 1 if port < 65535 else 8000}"
        )


if __name__ == "__main__":
    main()
