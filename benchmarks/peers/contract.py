"""What a peer of the benchmarks may do: fetch, serve pages, record. None does all.

Everything here runs with the Python of the rivals' own virtual environment, where
moe_middleware is not installed; only ``ours`` runs with ours.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol, runtime_checkable

KEY = "homepage-banner"
CONTEXT = {
    "cid": "66d55ae445921e4d35ae4368_F_T_WP_AB_2_P_0_AU_5A",
    "experience": "Homepage banner",
    "moe_locale_id": "0",
    "moe_variation_id": "2",
    "audience_name": "All Users",
    "audience_id": "5A",
    "type": "Web Personalization",
    "experience_type": "API based Experience",
}
"""The context of every recorded impression, the same for all peers."""

DEFAULTS = "defaults"
"""The variant of a peer that keeps all limits of its package, for ``losses``."""

USERS = [f"customer-{number}" for number in range(1_000)]


@runtime_checkable
class Fetcher(Protocol):
    """Asks for a visitor's variations over HTTP, and nothing else."""

    async def fetch(self, user: str) -> object:
        """Send the request of one fetch, read its answer, return one value of it."""
        ...


@runtime_checkable
class Site(Protocol):
    """Serves pages that need a visitor's variation."""

    def page(self, user: str, reads: int) -> Awaitable[object] | object:
        """Serve one request in which the variation is read so many times.

        An ordinary function is one that blocks its thread.
        """
        ...


@runtime_checkable
class Recorder(Protocol):
    """Records that variations were shown, and delivers that."""

    def record(self, user: str) -> object:
        """Record one impression, on the request's own thread."""
        ...

    def flush(self) -> Awaitable[object] | object:
        """Deliver what is recorded; return when it is done or on its way."""
        ...


@runtime_checkable
class Closing(Protocol):
    """Records impressions in a process that ends, as in ``losses``."""

    def record(self, user: str) -> object:
        """Record one impression: for us, serve a page that shows it."""
        ...

    def close(self) -> object:
        """End as the package's documents say before a process ends."""
        ...
