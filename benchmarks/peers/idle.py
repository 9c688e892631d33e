"""Idle: how late an event loop gets on this machine when nothing blocks it."""

from __future__ import annotations

import asyncio
from pathlib import Path

WAIT = 0.3
"""As long as the slow upstream takes, in seconds."""


class Idle:
    async def page(self, user: str, reads: int) -> object:
        await asyncio.sleep(WAIT)
        return None


def peer(url: str, directory: Path, variant: str) -> Idle:
    return Idle()
