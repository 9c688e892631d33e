"""Runs the sandbox as a server, and prints what users need to know."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterable
from textwrap import indent
from urllib.parse import urlencode

from .app import Sandbox
from .listeners import CannotListen, address_of, listen, token_for, url_of
from .memory.tables import MEMORY, StoreError
from .pages.calls import sample_calls
from .workspace.workspace import Workspace


def serve(
    host: str = "127.0.0.1",
    port: int = 8787,
    workspace: Workspace | str | os.PathLike[str] | None = None,
    log_level: str = "warning",
    *,
    db: str | os.PathLike[str] = MEMORY,
    strict: bool = False,
    token: str = "",
) -> None:
    """Serve a sandbox until the process is signalled to stop.

    Args:
        host: The address to listen at.
        port: The port to listen at; 0 takes any free one.
        workspace: The workspace, or its file; left out, the sample workspace.
        log_level: The server's log level; ``info`` shows every call.
        db: The SQLite file of events and counts; left out, memory.
        strict: Whether to accept only calls that the newest documents allow.
        token: The token that the pages and tools require. Left out, one is made and
            printed if other machines can reach the sandbox.

    Raises:
        SystemExit: It cannot listen there, or use that file, or uvicorn is missing.
    """
    try:
        from .uvicorn import run
    except ModuleNotFoundError as error:
        if error.name != "uvicorn":
            raise
        raise SystemExit(
            "The sandbox needs uvicorn to listen at a port: "
            "pip install 'moe_middleware[sandbox]'"
        ) from None
    _show_log()
    try:
        sandbox = Sandbox(workspace, db=db, strict=strict)
    except StoreError as error:
        raise SystemExit(str(error)) from None
    with _listen(host, port) as listener:
        address = address_of(listener, host)
        sandbox.address = address
        sandbox.token = token or token_for(listener)
        # Flushed, as it is often read through a pipe.
        print(start_text(sandbox.workspace, address, sandbox.token), flush=True)
        run(sandbox, listener, log_level)
    sandbox.close()


def _show_log() -> None:
    """Show the sandbox's log lines, unless the program has configured logging."""
    logging.basicConfig(format="%(levelname)s %(message)s")
    logging.getLogger(__package__).setLevel(logging.INFO)


def start_text(workspace: Workspace, address: str, token: str = "") -> str:
    """Return the text for people on how to call the sandbox at its URL."""
    shown = f"?{urlencode({'token': token})}" if token else ""
    warning = (
        [
            "",
            "Other machines may reach it: the API takes the key above from them, pages",
            "and tools ask for the token (Authorization: Bearer, or the link above).",
        ]
        if token
        else []
    )
    access = [
        ("base url", f"{address}/v1"),
        ("workspace id", workspace.workspace_id),
        *(("api key", key) for key in workspace.api_keys),
        ("pages", f"{address}/{shown}"),
        ("openapi", f"{address}/openapi.json"),
    ]
    experiences = [
        (one.key, one.status.value, ", ".join(a.name for a in one.audiences))
        for one in workspace.experiences
    ]
    customers = [
        (one.customer_id, ", ".join(f"{k} {v}" for k, v in one.attributes.items()))
        for one in workspace.customers
    ]
    return "\n".join(
        [
            f"MoEngage Personalize sandbox: {workspace.name}",
            "",
            *_columns(access),
            *warning,
            "",
            "Experiences",
            *_columns(experiences),
            "",
            "Customers",
            *_columns(customers),
            "",
            "Try",
            indent(sample_calls(workspace, address, 0).fetch, "  "),
            "",
        ]
    )


def _columns(rows: Iterable[tuple[str, ...]]) -> list[str]:
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in table]


def _listen(host: str, port: int) -> socket.socket:
    try:
        return listen(host, port)
    except CannotListen as error:
        raise SystemExit(
            f"The sandbox cannot listen at {url_of(host, port)}: {error}. "
            "Choose another port with --port."
        ) from None
