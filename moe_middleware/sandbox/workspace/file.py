"""Reads a workspace file, checks it by line, and reads it again when it changes."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ...models.errors import Problem, SettingsError
from ...settings.documents import Document
from ...settings.json_schema import build_schema
from ...settings.reading import parse_document, read_document
from ...settings.validation import Mistake, explained
from ...settings.variables import Variables
from .building import build_workspace
from .geography import Geography, open_database
from .references import reference_mistakes
from .sections import WorkspaceSection
from .workspace import Workspace

logger = logging.getLogger(__name__)

LOOKS_EVERY = 1.0
"""Seconds between two checks of the file."""


def load_workspace(
    path: str | os.PathLike[str], *, environ: Mapping[str, str] = os.environ
) -> Workspace:
    """Return the workspace of a file.

    Args:
        path: The file; the path of its database is relative to it.
        environ: The variables, for ``${VAR}``.

    Raises:
        SettingsError: The file is invalid; it lists every mistake.
    """
    file = Path(path)
    return _build(read_document(file, variables=Variables(environ)), file.parent)


def parse_workspace(
    text: str,
    *,
    file: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Workspace:
    """Return the workspace of a text, as ``load_workspace`` does.

    Args:
        file: The file name that problems show.
        environ: The variables, for ``${VAR}``.

    Raises:
        SettingsError: The file is invalid; it lists every mistake.
    """
    document = parse_document(text, file=file, variables=Variables(environ))
    return _build(document, Path())


def workspace_schema() -> dict[str, Any]:
    """Return the JSON Schema of workspace files, for editors."""
    title = "workspace.yml, the workspace of moe_middleware's sandbox"
    return build_schema(WorkspaceSection, title=title)


class WorkspaceFile:
    """A workspace file that is read again when it changes. Thread-safe.

    After a change that breaks it, the last valid workspace stays in use, with one log
    line.

    Args:
        environ: The variables, for ``${VAR}``.
        clock: A clock that never jumps, in seconds.

    Attributes:
        problems: The current problems of the file.

    Raises:
        SettingsError: The file is invalid at the start.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = Path(path)
        self.problems: tuple[Problem, ...] = ()
        self._environ = environ
        self._clock = clock
        self._lock = threading.Lock()
        self._looked_at = clock()
        self._seen = self._look()
        self._workspace = load_workspace(self.path, environ=environ)

    def current(self) -> Workspace:
        """Return the workspace; the file was checked within the last second."""
        now = self._clock()
        # Another thread is reading: use the current workspace.
        if now - self._looked_at >= LOOKS_EVERY and self._lock.acquire(blocking=False):
            try:
                self._looked_at = now
                self._follow()
            finally:
                self._lock.release()
        return self._workspace

    def _follow(self) -> None:
        seen = self._look()
        if seen == self._seen:
            return
        # Also of a broken file: it is reported once, not every second.
        self._seen = seen
        try:
            self._workspace = load_workspace(self.path, environ=self._environ)
        except SettingsError as error:
            self.problems = error.problems
            logger.error(
                "workspace_file_broken, the last good one stays:\n%s", str(error)
            )
        else:
            self.problems = ()
            logger.info("workspace_file_read file=%s", self.path)

    def _look(self) -> tuple[int, ...]:
        """Return values that change whenever the file does; None without a file."""
        try:
            found = self.path.stat()
        except OSError:
            return ()
        # Editors replace a file: the new one has another inode.
        return found.st_mtime_ns, found.st_size, found.st_ino


def _build(document: Document, folder: Path) -> Workspace:
    if not document.readable:
        raise SettingsError(document.problems())
    try:
        section = WorkspaceSection.model_validate(document.tree)
    except ValidationError as error:
        mistakes = [
            _as_written(mistake, document.tree)
            for mistake in explained(error, WorkspaceSection)
        ]
        raise SettingsError(_problems(document, mistakes)) from None
    workspace = build_workspace(section)
    workspace = replace(workspace, geography=_beside(workspace.geography, folder))
    found = [*reference_mistakes(section), *_database_mistakes(workspace.geography)]
    if problems := _problems(document, found):
        raise SettingsError(problems)
    return workspace


def _as_written(mistake: Mistake, tree: Any) -> Mistake:
    """Return a mistake with its place as in the file, if there is a line.

    A mistake in a key is reported at its value. One value, or a list, may replace a
    section; the file then has no step like ``include``.
    """
    place: list[str | int] = []
    for step in mistake.place:
        written = isinstance(tree, Mapping) or isinstance(step, int)
        if step != "[key]" and (written or not isinstance(tree, list | str)):
            place.append(step)
            tree = _at(tree, step)
    return replace(mistake, place=tuple(place))


def _at(tree: Any, step: str | int) -> Any:
    if isinstance(tree, Mapping):
        return tree.get(str(step))
    within = isinstance(tree, list) and isinstance(step, int) and step < len(tree)
    return tree[step] if within else None


def _problems(document: Document, mistakes: Iterable[Mistake]) -> list[Problem]:
    """Return a document's problems, with list items named by their keys or names."""
    names = dict(_names_in(document.tree, "", ""))
    return [
        replace(problem, where=_named(problem.where, names))
        for problem in document.problems(mistakes)
    ]


def _named(where: str, names: Mapping[str, str]) -> str:
    end = len(where)
    while end > 0:
        if (name := names.get(where[:end])) is not None:
            return name + where[end:]
        end = where.rfind(".", 0, end)
    return where


def _names_in(tree: Any, numbered: str, named: str) -> Iterator[tuple[str, str]]:
    """Yield each list item's place, and its place for people."""
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(tree, Mapping):
        items = tree.items()
    elif isinstance(tree, list):
        items = enumerate(tree)
    for step, inner in items:
        name = step
        if isinstance(tree, list) and isinstance(inner, Mapping):
            known = next((one for one in ("key", "id", "name") if one in inner), "")
            name = inner[known] if known and _is_short(inner[known]) else step
        here = f"{numbered}.{step}".lstrip("."), f"{named}.{name}".lstrip(".")
        if name != step:
            yield here
        yield from _names_in(inner, *here)


def _is_short(name: object) -> bool:
    return isinstance(name, str) and name.isprintable() and 0 < len(name) <= 50


def _beside(geography: Geography, folder: Path) -> Geography:
    if geography.database is None:
        return geography
    return replace(geography, database=str(folder / geography.database))


def _database_mistakes(geography: Geography) -> Iterator[Mistake]:
    if geography.database is None:
        return
    try:
        open_database(geography.database)
    except ModuleNotFoundError:
        text = "needs the package maxminddb: pip install 'moe_middleware[geo]'"
    except OSError as error:
        text = f"{geography.database!r} cannot be read: {error.strerror}"
    except ValueError as error:
        text = str(error)
    else:
        return
    yield Mistake(("geography", "database"), text)
