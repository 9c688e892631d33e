"""The endpoints of the API: where they are, and the methods that each takes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ROOT = "/v1/experiences/"

METHODS = {"fetch": ("POST",), "metadata": ("GET", "HEAD"), "events": ("POST",)}
"""The endpoints, and the methods that each of them takes."""


def endpoint_of(scope: Mapping[str, Any]) -> str | None:
    """Return which of the endpoints a call is for; None for everything else."""
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    name = path.removeprefix(ROOT)
    return name if path != name and name in METHODS else None
