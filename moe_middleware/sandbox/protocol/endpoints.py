"""The endpoints of the API: their paths and methods. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ROOT = "/v1/experiences/"

METHODS = {"fetch": ("POST",), "metadata": ("GET", "HEAD"), "events": ("POST",)}
"""The endpoints and their methods."""


def endpoint_of(scope: Mapping[str, Any]) -> str | None:
    """Return the endpoint of a call; None for other paths."""
    # Below a mount, ASGI leaves the mount in the path.
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    name = path.removeprefix(ROOT)
    return name if path != name and name in METHODS else None
