"""The budget of API calls: of one process, one host, or all hosts."""

from __future__ import annotations

from hashlib import blake2b

from ...settings.store_addresses import StoreAddress
from .contract import CallBudget, Taken
from .limits import Limits
from .memory import MemoryBudget
from .shared import SharedBudget

__all__ = ["CallBudget", "Limits", "MemoryBudget", "Taken", "open_budget"]


SQLITE_PATIENCE = 0.1
"""How long one ``take`` waits for the file, in seconds."""

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
    """Return the budget for the settings' ``budget``, without opening anything yet.

    Args:
        store: ``memory:``, ``sqlite:///relative.db``, ``sqlite:////absolute.db``,
            ``redis://`` or ``rediss://``.
        limit: Calls per minute, of all processes that share the store.
        workspace_id: Each workspace has its own budget.
        fixed: Whether to ignore a higher limit that the API publishes.
        smooth: Whether calls are spread evenly over the time.
        timeout: How long to wait for Redis to connect, and for its answer, in seconds.

    Raises:
        SettingsError: The store needs a package that is missing.
    """
    # The store must not show the workspace's id.
    name = blake2b(workspace_id.encode(), digest_size=8).hexdigest()
    address, limits = StoreAddress(store), Limits(limit, fixed, smooth)
    if address.file is not None:
        from .sqlite import SQLiteLedger

        file = SQLiteLedger(address.file, name, busy_timeout=SQLITE_PATIENCE)
        return SharedBudget(file, limits, patience=SQLITE_PATIENCE)
    if address.is_redis:
        from ...network.redis import RedisClients

        url = address.get_secret_value()
        clients = RedisClients(url, where="budget.store", timeout=timeout)
        # Imported after RedisClients has checked that the package is installed.
        from .redis import RedisLedger

        redis = RedisLedger(clients, name)
        # Time to connect, and for the answer.
        return SharedBudget(redis, limits, patience=2 * timeout)
    return MemoryBudget(limits)
