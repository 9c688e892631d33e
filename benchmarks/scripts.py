"""What clicks, sight and the script cost: in bytes, on the server, in a browser."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from .effort import Effort
from .ratios import Row
from .scripts_browser import scripts_browser
from .scripts_pages import scripts_pages


async def scripts(directory: Path, effort: Effort) -> AsyncIterator[Row]:
    """Compare the same page with and without each of them."""
    for name, rows in (("pages", scripts_pages), ("browser", scripts_browser)):
        folder = directory / name
        folder.mkdir()
        async for row in rows(folder, effort):
            yield row
