"""The one request that every HTTP client sends, and how its answer is read."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import orjson

from .contract import KEY

HEADERS = {
    "Authorization": f"Basic {b64encode(b'W:K').decode()}",
    "MOE-APPKEY": "W",
    "Content-Type": "application/json",
    "Accept": "application/json",
}
BODY: dict[str, Any] = {
    "experience_key": [KEY],
    "DAY_OF_THE_WEEK": "Friday",
    "TIME_OF_THE_DAY": "09",
}


def title(answer: bytes) -> object:
    """Return the value that all peers read."""
    return orjson.loads(answer)["experiences"][KEY]["payload"]["Title"]["value"]
