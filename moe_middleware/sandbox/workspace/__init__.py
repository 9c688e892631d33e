"""The sandbox's workspace: users, audiences, experiences."""

from __future__ import annotations
