"""The in-session attributes that the settings, or one of their routes, name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..models.visits import Visit
from ..settings.value_sources import ValueSource
from .value_readers import SourceReader


class NamedAttributes:
    """Reads the attributes that the settings, or one of their routes, name."""

    def __init__(
        self, sources: Mapping[str, ValueSource], reader: SourceReader
    ) -> None:
        self.readers = {name: reader.text(one) for name, one in sources.items()}
        self._of_the_page = {
            name: self.readers[name]
            for name, source in sources.items()
            if source.is_of_the_page
        }

    def read(
        self,
        named: dict[str, str],
        visit: Visit,
        path_params: Mapping[str, Any],
        of_the_page: bool,
    ) -> None:
        """Add the values that the request has to ``named``, without empty ones."""
        readers = self._of_the_page if of_the_page else self.readers
        for name, read in readers.items():
            if text := read(visit, path_params):
                named[name] = text
