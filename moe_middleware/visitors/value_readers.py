"""Reads a request's values from their sources, in synchronous code.

A value that needs waiting stops the reading with ``MustWaitError``.
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, TypeVar

from ..logs.repeated_lines import RepeatLogger
from ..models.texts import decoded
from ..models.usable_ids import BLANKS, Flaw, flaw_of, usable_id
from ..models.visits import Visit
from ..settings.import_strings import call_fault
from ..settings.value_sources import NoFunctionError, ValueSource, is_async
from .waiting import MustWaitError, SlowSourceError

T = TypeVar("T")

logger = logging.getLogger(__name__)

Read = Callable[[Visit, Mapping[str, Any]], str | None]
"""Reads one value of a visit and its path parameters; None if it has none.

It raises MustWaitError and nothing else: for a source that fails, the value is missing,
with a log line.
"""


class SourceReader:
    """Makes the functions that read sources, once for each source."""

    def __init__(self) -> None:
        self._logger = RepeatLogger(logger)
        self._noted: set[tuple[str, ...]] = set()

    def text(self, source: ValueSource | None) -> Read:
        """Return a reader of a source's value as text; without a source it reads
        None."""
        return self._reading(source, as_text)

    def id(self, source: ValueSource | None) -> Read:
        """Return a reader of it as an id; a value that cannot be an id gives None."""
        if source is None:
            return _read_nothing
        if source.kind == "cookie":
            return self._cookie_id(source)
        by_anyone, note_flaw = source.is_written_by_anyone, self._note_flaw

        def checked(value: object) -> str | None:
            text = as_id(value)
            flaw = flaw_of(text, by_anyone=by_anyone)
            if flaw is None:
                return text
            note_flaw(source, flaw, text)
            return None

        return self._reading(source, checked)

    def _cookie_id(self, source: ValueSource) -> Read:
        """Return a reader of the ids in a cookie, as most sites have them."""
        name, note_flaw = source.name, self._note_flaw

        def read(visit: Visit, _: Mapping[str, Any]) -> str | None:
            try:
                value = visit.cookie(name)
            except Exception as error:
                self._note_failure(source, error)
                return None
            if value is None:
                return None
            text = value.strip(BLANKS)
            flaw = flaw_of(text, by_anyone=True)
            if flaw is None:
                return text
            note_flaw(source, flaw, text)
            return None

        return read

    def _reading(
        self, source: ValueSource | None, convert: Callable[[object], str | None]
    ) -> Read:
        if source is None:
            return _read_nothing
        if source.is_lazy:
            return self._reading_once(source, convert)
        value_of = source.read

        def read(visit: Visit, path_params: Mapping[str, Any]) -> str | None:
            try:
                value = value_of(visit, path_params)
                return None if value is None else convert(value)
            except Exception as error:
                self._note_failure(source, error)
                return None

        return read

    def _reading_once(
        self, source: ValueSource, convert: Callable[[object], str | None]
    ) -> Read:
        """Return a reader of a source in the app's own code, called once per visit."""
        value_of, name = source.read, object()

        def read(visit: Visit, path_params: Mapping[str, Any]) -> str | None:
            values = visit.values_read
            found = values.get(name, _UNREAD)
            if isinstance(found, MustWaitError) and not found.ended:
                raise found
            if found is None or isinstance(found, str):
                return found
            text = None
            try:
                if isinstance(found, MustWaitError):
                    value = found.result()
                elif visit.in_thread is not None and not is_async(source):
                    raise MustWaitError(visit, name, lambda: value_of(visit, {}))
                else:
                    value = value_of(visit, path_params)
                    if inspect.isawaitable(value):
                        raise MustWaitError(visit, name, begun=value)
                if value is not None:
                    text = convert(value)
                elif advice := visit.absent.get(source.kind):
                    self._note_absence(source, advice)
            except MustWaitError:
                raise
            except Exception as error:
                self._note_failure(source, error)
            values[name] = text
            return text

        return read

    def _note_failure(self, source: ValueSource, error: Exception) -> None:
        """Log a failure's place; the error's own text may contain a visitor's id."""
        where = _of(source)
        if isinstance(error, NotTextError):
            given, about = f" given={error}", _NOT_TEXT
        elif isinstance(error, SlowSourceError):
            given, about = "", _SLOW
        elif isinstance(error, NoFunctionError):
            given, about = "", str(error)
        elif (
            isinstance(error, TypeError)
            and source.call is not None
            and (fault := call_fault(source.call))
        ):
            given, about = "", fault
        else:
            name = type(error).__name__
            given, about = f" error={name} at={_place_of(error)}", _RAISES
        self._logger.log(
            logging.WARNING, "value_failed source=%s%s: %s", where, given, about
        )

    def _note_absence(self, source: ValueSource, advice: str) -> None:
        """Log once that such requests have no value for a kind of source."""
        if self._is_new(source.kind):
            logger.warning("middleware_missing source=%s: %s", _of(source), advice)

    def _note_flaw(self, source: ValueSource, flaw: Flaw, text: str) -> None:
        """Log once for each source and reason that its ids are ignored."""
        # Without a value, the visitor is just not known.
        if flaw is Flaw.EMPTY or not self._is_new(source.kind, source.name, flaw):
            return
        # A placeholder is in our list, so it is no visitor's id.
        word = f" value={text.lower()}" if flaw is Flaw.PLACEHOLDER else ""
        logger.warning(
            "id_ignored source=%s reason=%s%s: %s",
            *(_of(source), flaw, word, _FLAWS[flaw]),
        )

    def _is_new(self, *noted: str) -> bool:
        if noted in self._noted:
            return False
        self._noted.add(noted)
        return True


def _read_nothing(_: Visit, __: Mapping[str, Any]) -> None:
    """The reader of a missing source."""


_UNREAD = object()

_FLAWS = {
    Flaw.PLACEHOLDER: "MoEngage takes it for a placeholder, so the visitor is "
    "anonymous; where it is a real id, take it from the session, the signed-in user "
    "or a call, which are taken as they are",
    Flaw.TOO_LONG: "an id has 256 characters at most",
    Flaw.UNPRINTABLE: "an id has printable characters only",
}


# --- what a value is -----------------------------------------------------------


def id_at_once(source: ValueSource, visit: Visit) -> str | None:
    """Return the id of a source without waiting; its exceptions pass through."""
    value = source.read(visit, visit.path_params)
    text = None if value is None else as_id(value)
    return usable_id(text, by_anyone=source.is_written_by_anyone)


def as_text(value: object) -> str:
    """Return a value as text, as the API needs it.

    Raises:
        NotTextError: It is neither text nor a number, and has no text of its own.
    """
    if isinstance(value, str):
        text = str.__str__(value)
        try:
            text.encode()
        except UnicodeEncodeError:
            raise NotTextError("half-a-character") from None
        return text
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return decoded(value)
    if isinstance(value, Enum):
        return as_text(value.value)
    if not isinstance(value, int | float) and type(value).__str__ is object.__str__:
        # Its text would be Python's repr, often with an address in memory.
        raise NotTextError(type(value).__name__)
    return str(value)


class NotTextError(TypeError):
    """A value is no text; the error's text has its type, and nothing of its value."""


def as_id(value: object) -> str:
    """Return a value as the text of an id, without blanks at its ends.

    Raises:
        NotTextError: It is no text.
    """
    if isinstance(value, bool):
        raise NotTextError("bool")
    return as_text(value).strip(BLANKS)


def _of(source: ValueSource) -> str:
    return f"{source.kind}:{source.name}"


_RAISES = "the page goes on without this value; mend the code that raises"

_SLOW = (
    "it takes longer than the page may wait (fetch.timeout), so the page goes on "
    "without this value: let it answer sooner, or give up by itself"
)

_NOT_TEXT = (
    "a value is text or a number; name one that is, or write a call that makes one"
)


def _place_of(error: Exception) -> str:
    """Return the file and line that raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "unknown"
    return f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"
