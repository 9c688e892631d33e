"""Formats our log lines as JSON, one object per line, for log collectors."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime

_FIELD = re.compile(r"%%|(?:(?P<name>\w+)=(?P<prefix>[\w/]*))?%[-#0 +]*[\d.]*[a-zA-Z]")
_EVENT = re.compile(r"[a-z]+(?:_[a-z]+)*(?=[ :,]|$)")


class JSONFormatter(logging.Formatter):
    """Formats ``event key=value: advice`` as ``{"event": ..., "key": ..., ...}``.

    Each object has ``time``, ``level``, ``logger`` and ``message``, the unchanged line;
    lines of this package also have ``event`` and their values, and lines with an
    exception ``exception``. Other packages' lines are formatted, too.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.name.split(".")[0] == "moe_middleware":
            fields = {**_fields(record), **fields}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """Return the event and the values of a line, as they were logged."""
    fields: dict[str, object] = {}
    if event := _EVENT.match(record.getMessage()):
        fields["event"] = event[0]
    args = record.args if isinstance(record.args, tuple) else ()
    specs = [found for found in _FIELD.finditer(str(record.msg)) if found[0] != "%%"]
    if len(specs) != len(args):
        return fields
    for found, value in zip(specs, args, strict=True):
        if name := found["name"]:
            plain = not found["prefix"] and isinstance(value, int | float | None)
            fields[name] = value if plain else f"{found['prefix']}{value}"
    return fields
