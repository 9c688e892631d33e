"""Redis and Valkey: one server, sentinels and their primary, or a cluster.

``options`` reads an address, ``topology`` knows which server has a key, ``router``
sends commands to that server, and follows its redirections.
``clients`` are the connections of event loops, ``blocking`` those of a thread.
"""

from __future__ import annotations

from .clients import RedisClients
from .options import INSTALL, Command

__all__ = ["INSTALL", "Command", "RedisClients"]
