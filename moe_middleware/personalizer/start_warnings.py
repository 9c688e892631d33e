"""Logs doubtful settings at the start of a process."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable

from ..browser.sandbox_pages import known_experiences
from ..settings.import_strings import call_fault
from ..settings.replacements_in_tests import tests_stand_in
from ..settings.secret_keys import WITHOUT, weakness
from ..settings.settings import Settings
from .catalogue import Catalogue

logger = logging.getLogger(__name__)


def warn_at_start(
    settings: Settings, catalogue: Catalogue, others: Iterable[Settings] = ()
) -> None:
    """Log missing functions, a missing or weak secret key, and doubtful settings.

    Args:
        settings: The configuration that starts.
        catalogue: Its experiences.
        others: Those of this process that have started before.
    """
    if any(_shares_outbox(settings, other) for other in others):
        logger.error(
            "outbox_of_two_workspaces outbox=%s: it takes events of one workspace at a "
            "time, and the other's wait: give each settings file its own events.outbox",
            settings.events.outbox,
        )
    for doubt in settings.doubts():
        logger.warning("setting_doubtful setting=%s: %s", doubt.where, doubt)
    for where, source in settings.sources():
        if source.call is not None and (fault := call_fault(source.call)):
            problem = settings.problem(where, fault)
            logger.error("call_unusable setting=%s: %s", where, problem)
    keys = [key.get_secret_value() for key in settings.secret_key or ()]
    if not keys:
        logger.info("secret_key_missing: %s", WITHOUT)
    # The sandbox's data needs no protection.
    elif settings.workspace.data_center != "sandbox" and (weak := weakness(keys)):
        logger.warning("secret_key_weak: it is %s", weak)
    # An embedded sandbox has no updates; tests define the keys that they need.
    if settings.workspace.embedded and not tests_stand_in():
        catalogue.compare(known_experiences())


def warn_of_sandboxes(others: int) -> None:
    """Log that several processes have an embedded sandbox.

    Args:
        others: Their number, without this process.
    """
    logger.warning(
        "sandbox_in_each_process processes=%d: each has an embedded sandbox of its "
        "own, with a part of the events: start one for all by 'moe-middleware "
        "sandbox', and set MOE_BASE_URL to http://127.0.0.1:8787/v1; or run one "
        "process",
        others + 1,
    )


def _shares_outbox(one: Settings, other: Settings) -> bool:
    """Whether one file has the events of two workspaces. A Redis keeps them apart."""
    files = [it.events.outbox.file for it in (one, other)]
    paths = {os.path.abspath(file) for file in files if file is not None}
    workspaces = {(it.workspace.id, it.workspace.url) for it in (one, other)}
    return None not in files and len(paths) == 1 and len(workspaces) == 2
