"""How many calls may be made: by one process, by a host's, or by all hosts'."""

from __future__ import annotations

from hashlib import blake2b

from ...settings.store_addresses import StoreAddress
from .contract import CallBudget, Taken
from .memory import MemoryBudget
from .shared import SharedBudget

__all__ = ["CallBudget", "MemoryBudget", "Taken", "open_budget"]


SQLITE_PATIENCE = 0.1
"""How long one take waits for a file, in seconds."""

REDIS_TIMEOUT = 0.05
"""How long to wait for Redis to connect, and for its answer, in seconds."""


def open_budget(
    store: StoreAddress | str,
    limit: int,
    *,
    workspace_id: str,
    fixed: bool = False,
    smooth: bool = False,
    timeout: float = REDIS_TIMEOUT,
) -> CallBudget:
    """Return the budget of a settings file's ``budget``; nothing is opened yet.

    Args:
        store: ``memory:``, ``sqlite:///relative.db``, ``sqlite:////absolute.db``,
            ``redis://`` or ``rediss://``.
        limit: Calls in a minute, of all that share the store.
        workspace_id: Whose calls they are; each workspace has a budget of its own.
        fixed: Whether a higher limit that the API publishes makes no difference.
        smooth: Whether calls are spread evenly over the time.
        timeout: How long to wait for Redis to connect, and for its answer, in seconds.

    Raises:
        SettingsError: The store needs a package that is missing.
    """
    # Who looks into the store learns no id.
    name = blake2b(workspace_id.encode(), digest_size=8).hexdigest()
    address = StoreAddress(store)
    if address.file is not None:
        from .sqlite import SQLiteLedger

        file = SQLiteLedger(address.file, name, busy_timeout=SQLITE_PATIENCE)
        return SharedBudget(
            file, limit, fixed=fixed, smooth=smooth, patience=SQLITE_PATIENCE
        )
    if address.is_redis:
        from ...network.redis import RedisClients

        url = address.get_secret_value()
        clients = RedisClients(url, where="budget.store", timeout=timeout)
        # Only now: where the package is missing, the clients say what to install.
        from .redis import RedisLedger

        redis = RedisLedger(clients, name)
        return SharedBudget(
            redis, limit, fixed=fixed, smooth=smooth, patience=2 * timeout
        )
    return MemoryBudget(limit, fixed=fixed, smooth=smooth)
