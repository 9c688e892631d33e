"""The three endpoints as an OpenAPI 3.1 document, served at ``/openapi.json``."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

_FILE = Path(__file__).with_name("openapi.yml")


def openapi_document(server: str) -> dict[str, Any]:
    """Return the document.

    Args:
        server: The sandbox's URL, as in ``http://127.0.0.1:8787``; may be a path.
    """
    return {**_document(), "servers": [{"url": f"{server}/v1"}]}


@cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    return document
