"""The checks of ``check``: tries everything that a configuration needs."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from email.utils import parsedate_to_datetime
from typing import Any

from ..client.client import MoEngageClient
from ..client.failures import advice
from ..models.errors import (
    AuthenticationError,
    MoEngageError,
    OutboxError,
    Problem,
    SettingsError,
)
from ..models.observers import Counters
from ..network.redis import RedisClients
from ..outbox.journal_files import workspace_mark
from ..outbox.sqlite.files import check_version, claim_for, is_up_to_date
from ..personalizer.observing import observer_of, telemetry_of
from ..settings.import_strings import call_fault
from ..settings.settings import Settings
from ..settings.store_addresses import StoreAddress
from ..visitors.bots import load_crawlers

PATIENCE = 3.0
"""Seconds to wait for one answer."""

CLOCK = 30.0
"""The largest difference of clocks, in seconds."""

_CUT_OFF = ("closed by server", "reset by peer", "Connection lost", "Broken pipe")
"""How a server hangs up on a client that it does not want, in redis-py's words: it
depends on who is quicker."""

_OLDEST_REDIS = {"events.outbox": 7, "cache.redis": 6, "budget.store": 6}


def check(settings: Settings) -> list[Problem]:
    """Return all problems that would keep a site with these settings from working.

    Functions are imported, files and servers are opened; nothing is left behind.
    """
    return sorted([*_names(settings), *_stores(settings)], key=_line)


def _line(problem: Problem) -> float:
    return float("inf") if problem.line is None else problem.line


# --- what the file names ------------------------------------------------------


def _names(settings: Settings) -> Iterator[Problem]:
    for where, source in settings.sources():
        if source.call is not None and (fault := call_fault(source.call)):
            yield settings.problem(where, fault)
    try:
        telemetry_of(settings)
    except SettingsError as error:
        yield from error.problems
    try:
        observer_of(settings, Counters())
    except SettingsError as error:
        yield from error.problems
    except Exception as error:
        message = f"it cannot be imported: {type(error).__name__}: {error}"
        yield settings.problem("observer", message)
    if settings.bots.library == "on":
        try:
            load_crawlers()
        except SettingsError as error:
            yield from _placed(settings, error)


def _placed(settings: Settings, error: SettingsError) -> Iterator[Problem]:
    for problem in error.problems:
        yield settings.problem(problem.where, problem.message)


# --- where things are kept ------------------------------------------------------


def _stores(settings: Settings) -> Iterator[Problem]:
    stores: list[tuple[str, StoreAddress | None]] = [
        ("cache.redis", settings.cache.redis if settings.cache.ttl else None),
        ("budget.store", settings.budget.store),
        ("events.outbox", settings.events.outbox),
    ]
    for where, address in stores:
        if address is None:
            continue
        try:
            if address.file is not None:
                is_outbox = where == "events.outbox"
                workspace = settings.workspace.id if is_outbox else None
                fault = _file_fault(address.file, workspace)
            elif address.is_redis:
                fault = _redis_fault(settings, address, where)
            else:
                fault = None
        except SettingsError as error:
            yield from _placed(settings, error)
        else:
            if fault is not None:
                yield settings.problem(where, fault)


def _file_fault(path: str, workspace: str | None) -> str | None:
    """Return why a SQLite file cannot be written; a missing one is not created.

    Args:
        path: The file.
        workspace: The workspace's id, for an outbox.
    """
    folder = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path):
        return f"{path} is a folder: name the file in it"
    if not os.path.isdir(folder):
        return f"{path}: there is no folder {folder}: make it"
    try:
        # SQLite needs two more files beside its own.
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(8192))
    except OSError as error:
        return f"{path}: the folder {folder} cannot be written: {error.strerror}"
    if not os.path.exists(path):
        return None
    try:
        db = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
        try:
            if workspace is not None:
                check_version(db, path)
            db.execute("begin immediate")
            if workspace is not None and is_up_to_date(db):
                claim_for(db, workspace_mark(workspace), path)
            db.execute("rollback")
        finally:
            db.close()
    except (sqlite3.Error, OutboxError) as error:
        reason = str(error).removeprefix(f"{path}: ")
        return f"{path} cannot be used: {reason}"
    return None


def _redis_fault(settings: Settings, address: StoreAddress, where: str) -> str | None:
    clients = RedisClients(
        address.get_secret_value(), where=where, timeout=PATIENCE, patience=PATIENCE
    )
    # Not before the package is known to be there.
    from redis.exceptions import NoPermissionError, RedisError

    from ..network.redis.advice import described
    from .redis_rights import TO_FIND, failure_of, missing_rights, needs_of

    about = clients.options.address
    is_cluster = about.kind == "cluster"
    key, needs = needs_of(where, settings.workspace.id, cluster=is_cluster)

    async def ask() -> tuple[list[Any], list[Any]]:
        try:
            async with asyncio.timeout(3 * PATIENCE):
                reached = await clients.reach()
                return reached, await clients.ask(key, [("INFO", "server"), *needs])
        finally:
            await clients.aclose()

    def unusable(error: Exception) -> str:
        text = described(error)
        if any(cut in text for cut in _CUT_OFF):
            if not about.is_tls:
                text += ": does it want TLS, as in rediss://?"
            elif not clients.options.servers.get("ssl_certfile"):
                text += (
                    ": does it want a client's certificate? Then add ssl_certfile and "
                    "ssl_keyfile"
                )
        return f"{address} cannot be used: {text}"

    def lacks(rules: str) -> str:
        user = about.username or "default"
        return f"{address}: a right is missing: ACL SETUSER {user} {rules}"

    try:
        reached, (info, *tried) = asyncio.run(ask())
    except TimeoutError:
        return f"{address} does not answer within {3 * PATIENCE:g} seconds"
    except NoPermissionError:
        return lacks(TO_FIND[about.kind])
    except (RedisError, OSError) as error:
        return unusable(error)
    if missing := missing_rights(key, needs, tried):
        return lacks(missing)
    if (failure := failure_of([*reached, *tried])) is not None:
        return unusable(failure)
    found = info if isinstance(info, bytes) else b""
    version = re.search(rb"redis_version:((\d+)\S*)", found)
    oldest = _OLDEST_REDIS[where]
    if version is not None and int(version[2]) < oldest:
        shown = version[1].decode()
        return f"{address} is Redis {shown}: take {oldest} or newer"
    return None


# --- the workspace itself -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Live:
    """The result of the calls to the workspace.

    Attributes:
        lines: The facts that are fine, each a name and a value.
        problems: The problems.
    """

    lines: Sequence[tuple[str, str]]
    problems: Sequence[Problem]


async def check_live(settings: Settings) -> Live:
    """Call the workspace with each API key; compare experience keys and clocks."""
    lines: list[tuple[str, str]] = []
    problems: list[Problem] = []
    statuses: dict[str, str] | None = None
    count = len(settings.workspace.keys)
    for index in range(count):
        where = "workspace.api_key" if count == 1 else f"workspace.api_keys.{index}"
        client = MoEngageClient(_with_one_key(settings, index))
        try:
            listed = await client.metadata()
        except MoEngageError as error:
            problems.append(settings.problem(where, _refusal(settings, error)))
            if not isinstance(error, AuthenticationError):
                break  # the other key would fail, too
            continue
        finally:
            await client.aclose()
        statuses = {one.key: one.status for one in listed}
        lines.append((where.removeprefix("workspace."), "accepted"))
        if index == 0 or len(lines) == 1:
            problems += _clock(settings, client.server_date, lines)
    if statuses is not None:
        lines.append(("experiences", f"{len(statuses)} in the workspace"))
        problems += _unknown_keys(settings, statuses, lines)
    return Live(lines, problems)


def _with_one_key(settings: Settings, index: int) -> Settings:
    keys = {"api_key": settings.workspace.keys[index], "api_keys": None}
    workspace = settings.workspace.model_copy(update=keys)
    return settings.model_copy(update={"workspace": workspace})


def _clock(
    settings: Settings, date: str | None, lines: list[tuple[str, str]]
) -> Iterator[Problem]:
    if date is None:
        return
    try:
        ahead = time.time() - parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError, OverflowError):
        return
    if abs(ahead) > CLOCK:
        side = "ahead of" if ahead > 0 else "behind"
        message = (
            f"this host's clock is {abs(ahead):.0f} seconds {side} the API's: events "
            "would have wrong times; set it, by NTP"
        )
        yield settings.problem("workspace", message)
    else:
        lines.append(("clock", "right"))


def _unknown_keys(
    settings: Settings, statuses: dict[str, str], lines: list[tuple[str, str]]
) -> Iterator[Problem]:
    reported: set[str] = set()
    for index, route in enumerate(settings.routes):
        for position, key in enumerate(route.experiences):
            where = f"routes.{index}.experiences.{position}"
            status = statuses.get(key)
            if status is None:
                near = get_close_matches(key, statuses, n=1)
                about = f": did you mean {near[0]!r}?" if near else ""
                message = f"the workspace has no experience {key!r}{about}"
                yield settings.problem(where, message)
            elif status != "Active" and key not in reported:
                reported.add(key)
                lines.append((key, status))


def _refusal(settings: Settings, error: MoEngageError) -> str:
    status = getattr(error, "status", None)
    what = f"{type(error).__name__}{f' ({status})' if status else ''}"
    return f"{what}: {advice(settings.workspace, error)}"
