"""Every door side by side: what a request costs, and whether every page counts once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from .doors_asgi import doors_asgi
from .doors_wsgi import wsgi_doors, wsgi_servers
from .effort import FULL, Effort
from .ratios import Row


async def doors(directory: Path, effort: Effort = FULL) -> AsyncIterator[Row]:
    """Compare a request at each door with the bare app's."""
    async for row in doors_asgi(directory, effort):
        yield row
    async for row in wsgi_doors(directory, effort):
        yield row


async def door_servers(directory: Path, effort: Effort = FULL) -> AsyncIterator[Row]:
    """Have every server send pages, and count the impressions that arrive."""
    async for row in wsgi_servers(directory, effort):
        yield row
