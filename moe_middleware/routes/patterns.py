"""Compiles a route's path to a regex that no request can make slow. Pure: no I/O."""

from __future__ import annotations

import re
from collections.abc import Collection
from math import factorial

from starlette.convertors import (
    FloatConvertor,
    IntegerConvertor,
    StringConvertor,
    UUIDConvertor,
)
from starlette.routing import compile_path

from ..settings.path_syntax import check_syntax

# These converters match no slash. Any other, also one of the app's, may match several
# segments.
_WITHIN_SEGMENT = {
    convertor.regex
    for convertor in (StringConvertor, IntegerConvertor, FloatConvertor, UUIDConvertor)
}


MAX_STEPS = 2_500_000
"""Steps of a regex for one path at most: about ten milliseconds."""


def _longest_path(path: str, crossing: Collection[str]) -> int | None:
    """Return the longest path that a pattern is matched with; None for any length.

    With several adjacent parameters a regex tries all ways to divide a path among them:
    two of them take seconds for 60 kB.
    """
    meeting = len(crossing)
    for segment in path.split("/"):
        reaching = sum(f"{{{name}:" in segment for name in crossing)
        within = segment.count("{") - reaching
        meeting += within if within > 1 or (within and reaching) else 0
    if meeting < 2:
        return None
    return int((MAX_STEPS * factorial(meeting)) ** (1 / meeting))


class Pattern:
    """A path in Starlette's syntax, compiled.

    Attributes:
        convertors: The converters of its parameters, by name.
        crossing: The names of parameters that may take more than one segment.
    """

    __slots__ = ("_longest", "_regex", "convertors", "crossing")

    def __init__(self, path: str) -> None:
        self._regex, _, self.convertors = compile_path(check_syntax(path))
        self.crossing = [
            name
            for name, convertor in self.convertors.items()
            if convertor.regex not in _WITHIN_SEGMENT
        ]
        self._longest = _longest_path(path, self.crossing)

    def match(self, path: str) -> re.Match[str] | None:
        if self._longest is not None and len(path) > self._longest:
            return None
        return self._regex.match(path)
