"""The settings: read from files and the environment, then checked."""

from __future__ import annotations
