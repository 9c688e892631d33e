"""Logs doubtful settings at the start of a process."""

from __future__ import annotations

import logging

from ..browser.sandbox_pages import known_experiences
from ..settings.import_strings import call_fault
from ..settings.secret_keys import WITHOUT, weakness
from ..settings.settings import Settings
from ..settings.stand_ins import tests_stand_in
from .catalogue import Catalogue

logger = logging.getLogger(__name__)


def warn_at_start(settings: Settings, catalogue: Catalogue) -> None:
    """Log missing functions, a missing or weak secret key, and doubtful settings."""
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
