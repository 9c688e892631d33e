"""Where a value comes from: a cookie, a header, ... or a function of the app's own."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextvars import ContextVar
from enum import Enum
from functools import cached_property, lru_cache
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .identity import Flaw, flaw_of, usable_id
from .repeated_lines import RepeatLogger
from .source_names import check_source_name, no_source
from .targets import call_fault, check_target, load_target
from .texts import decoded
from .visits import Visit

T = TypeVar("T")

logger = logging.getLogger(__name__)

KINDS = ("cookie", "header", "query", "path", "session", "user", "value", "call")

_LAZY = frozenset({"session", "user", "call"})

_OF_THE_PAGE = frozenset({"path", "query", "value"})

_WRITTEN_BY_ANYONE = frozenset({"cookie", "header", "query"})


class ValueSource(BaseModel):
    """Where one value comes from: exactly one of the kinds below."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    cookie: str | None = Field(default=None, description="The cookie of this name.")
    header: str | None = Field(
        default=None, description="The request header of this name."
    )
    query: str | None = Field(
        default=None, description="The query parameter of this name."
    )
    path: str | None = Field(default=None, description="The route's path parameter.")
    session: str | None = Field(
        default=None, description="A key of the framework's session; dots lead inwards."
    )
    user: str | None = Field(
        default=None,
        description="An attribute of the framework's user; dots lead inwards.",
    )
    value: str | None = Field(default=None, description="This very text.")
    call: str | None = Field(
        default=None,
        description="A sync or async function of the Visit, as 'pkg.mod:function'.",
    )

    @model_validator(mode="before")
    @classmethod
    def _is_mapping(cls, given: Any) -> Any:
        if not isinstance(given, Mapping | ValueSource):
            raise ValueError(no_source(given, KINDS))
        return given

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            said = " and ".join(given) if given else "nothing"
            raise ValueError(
                f"{said} given: a value has exactly one source, one of "
                f"{', '.join(KINDS)}"
            )
        if self.call is not None:
            check_target(self.call)
        check_source_name(self.kind, self.name)
        return self

    @cached_property
    def kind(self) -> str:
        """Which of the kinds it is."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @cached_property
    def name(self) -> str:
        """The cookie's name, the header's name, ... or the text itself."""
        name: str = getattr(self, self.kind)
        return name

    @cached_property
    def is_lazy(self) -> bool:
        """Whether reading it may run the app's own code, and so ask a database."""
        return self.kind in _LAZY

    @cached_property
    def is_of_the_page(self) -> bool:
        """Whether it says which page was requested, and nothing about the visitor."""
        return self.kind in _OF_THE_PAGE

    @cached_property
    def is_written_by_anyone(self) -> bool:
        """Whether any client can send any value: a cookie, a header, a parameter."""
        return self.kind in _WRITTEN_BY_ANYONE

    @cached_property
    def read(self) -> Reader:
        """A function from a visit and its path parameters to the value as it is there.

        It is None where the request has none, and an awaitable where the value takes
        waiting. It raises what the app's code raises.
        """
        return _reader(self.kind, self.name)

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    def __getstate__(self) -> dict[Any, Any]:
        # How it is read is made anew: a function made here cannot be pickled.
        state = super().__getstate__()
        kept = {key: one for key, one in state["__dict__"].items() if key != "read"}
        return {**state, "__dict__": kept}


Reader = Callable[[Visit, Mapping[str, Any]], object]


class SourceReader:
    """Reads sources for requests. One that fails costs its own value and a log line."""

    def __init__(self) -> None:
        self._logger = RepeatLogger(logger)
        self._noted: set[tuple[str, ...]] = set()

    async def text(
        self, source: ValueSource | None, visit: Visit, path_params: Mapping[str, Any]
    ) -> str | None:
        """Return a source's value as text; no source has none."""
        if source is None:
            return None
        return await self._read(source, visit, path_params, as_text)

    async def texts(
        self,
        sources: Mapping[str, ValueSource],
        visit: Visit,
        path_params: Mapping[str, Any],
    ) -> dict[str, str]:
        """Return the values that the request has, by name, without empty ones."""
        texts = {}
        for name, source in sources.items():
            if text := await self.text(source, visit, path_params):
                texts[name] = text
        return texts

    async def id(
        self, source: ValueSource | None, visit: Visit, path_params: Mapping[str, Any]
    ) -> str | None:
        """Return a source's value as an id, or None where it cannot be one."""
        if source is None:
            return None
        text = await self._read(source, visit, path_params, _as_id)
        if text is None:
            return None
        flaw = flaw_of(text, by_anyone=source.is_written_by_anyone)
        if flaw is None:
            return text
        if flaw is not Flaw.EMPTY:
            self._note_flaw(source, flaw, text)
        return None

    async def ids(
        self,
        sources: Mapping[str, ValueSource],
        visit: Visit,
        path_params: Mapping[str, Any],
    ) -> dict[str, str]:
        """Return the ids that the request has, by their names."""
        ids = {}
        for name, source in sources.items():
            if found := await self.id(source, visit, path_params):
                ids[name] = found
        return ids

    async def _read(
        self,
        source: ValueSource,
        visit: Visit,
        path_params: Mapping[str, Any],
        convert: Callable[[object], str],
    ) -> str | None:
        try:
            if source.is_lazy:
                value = await self._lazy_value(source, visit, path_params)
            else:
                value = source.read(visit, path_params)
            return None if value is None else convert(value)
        except CannotWaitError:
            raise
        except Exception as error:
            self._note_failure(source, error)
            return None

    async def _lazy_value(
        self, source: ValueSource, visit: Visit, path_params: Mapping[str, Any]
    ) -> object:
        wait = _wait.get()
        if wait is None and visit.in_thread is not None and not _is_async(source):
            value = await visit.in_thread(source.read)(visit, path_params)
        else:
            value = source.read(visit, path_params)
        if inspect.isawaitable(value):
            value = await value if wait is None else _waited(value, wait)
        if value is None and (advice := visit.absent.get(source.kind)):
            self._note_absence(source, advice)
        return value

    def _note_failure(self, source: ValueSource, error: Exception) -> None:
        """Say what failed and where; the error's own text may hold a visitor's id."""
        where = _of(source)
        if isinstance(error, NotTextError):
            given, about = f" given={error}", _NOT_TEXT
        elif isinstance(error, _NoFunctionError):
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
        """Say once that a kind of source can have no value on such a request."""
        if self._is_new(source.kind):
            logger.warning("middleware_missing source=%s: %s", _of(source), advice)

    def _note_flaw(self, source: ValueSource, flaw: Flaw, text: str) -> None:
        """Say once for each source and reason that its ids are ignored."""
        if not self._is_new(source.kind, source.name, flaw):
            return
        # The word is one of a list of ours, and nobody's id.
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


_FLAWS = {
    Flaw.PLACEHOLDER: "MoEngage takes it for a placeholder, so the visitor is "
    "anonymous; where it is a real id, take it from the session, the signed-in user "
    "or a call, which are taken as they are",
    Flaw.TOO_LONG: "an id has 256 characters at most",
    Flaw.UNPRINTABLE: "an id has printable characters only",
}


def run_here(steps: Coroutine[Any, Any, T], wait: Wait) -> T:
    """Run steps that read sources, in a thread without an event loop.

    Args:
        steps: They wait for nothing but async sources.
        wait: Waits for what an async source returns, and returns its value.

    Raises:
        RuntimeError: They waited for something else.
    """
    token = _wait.set(wait)
    try:
        steps.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    finally:
        _wait.reset(token)
    steps.close()
    raise RuntimeError("these steps wait for more than the sources of values")


Wait = Callable[[Awaitable[Any]], object]

_wait: ContextVar[Wait | None] = ContextVar("moe_middleware.wait", default=None)


def _waited(value: Awaitable[Any], wait: Wait) -> object:
    # What runs meanwhile, elsewhere, is run by an event loop of its own.
    token = _wait.set(None)
    try:
        return wait(value)
    except CannotWaitError:
        if inspect.iscoroutine(value):
            value.close()
        raise
    finally:
        _wait.reset(token)


class CannotWaitError(Exception):
    """An async source has to be waited for, where nothing can wait."""


def id_at_once(source: ValueSource, visit: Visit) -> str | None:
    """Return the id of a source that takes no waiting; it raises what that raises."""
    value = source.read(visit, visit.path_params)
    text = None if value is None else _as_id(value)
    return usable_id(text, by_anyone=source.is_written_by_anyone)


def as_text(value: object) -> str:
    """Return a value as the API takes it: text.

    Raises:
        NotTextError: It is neither text nor a number, and does not say how to write it.
    """
    if isinstance(value, str):
        text = str.__str__(value)
        if not text.isascii():
            _check_whole(text)
        return text
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return decoded(value)
    if isinstance(value, Enum):
        return as_text(value.value)
    if not isinstance(value, int | float) and type(value).__str__ is object.__str__:
        # As text it would be Python's own notation, often with an address in memory.
        raise NotTextError(type(value).__name__)
    return str(value)


class NotTextError(TypeError):
    """A value is no text; its own text names what it is, and nothing of the value."""


def _as_id(value: object) -> str:
    if isinstance(value, bool):
        raise NotTextError("bool")
    return as_text(value).strip()


def _check_whole(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotTextError("half-a-character") from None


def _of(source: ValueSource) -> str:
    return f"{source.kind}:{source.name}"


_RAISES = "the page goes on without this value; mend the code that raises"

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


def _reader(kind: str, name: str) -> Reader:
    match kind:
        case "cookie":
            return lambda visit, _: visit.cookie(name)
        case "header":
            return lambda visit, _: visit.header(name)
        case "query":
            return lambda visit, _: visit.query(name)
        case "path":
            return lambda _, path_params: path_params.get(name)
        case "session":
            return lambda visit, _: _inward(visit.session, name)
        case "user":
            return lambda visit, _: _of_user(visit.user, name)
        case "value":
            return lambda *_: name
        case _:
            return lambda visit, _: _function(name)(visit)


def _of_user(user: object, name: str) -> object:
    signed_in = user is not None and attribute(user, "is_authenticated", True)
    return _inward(user, name) if signed_in else None


def _inward(holder: object, name: str) -> object:
    if isinstance(holder, Mapping) and name in holder:
        return holder[name]
    for part in name.split("."):
        if holder is None:
            return None
        holder = _part(holder, part)
    return holder


def _part(holder: object, name: str) -> object:
    if isinstance(holder, Mapping):
        return holder.get(name)
    getter = getattr(type(holder), "__getitem__", None)
    # Some sessions are no Mapping, and have attributes of their own.
    if getter is not None and not isinstance(holder, str | bytes):
        try:
            return getter(holder, name)
        except (LookupError, TypeError):
            pass
    return attribute(holder, name)


def attribute(holder: object, name: str, default: object = None) -> object:
    """Return an attribute, or ``default`` where there is none.

    An AttributeError out of the attribute's own code is raised, where ``getattr``
    would take it for a missing attribute.
    """
    try:
        return getattr(holder, name)
    except AttributeError as error:
        # A proxy's class is the class of what it stands for.
        there = inspect.getattr_static(holder.__class__, name, _NOTHING)
        if there is not _NOTHING or error.name not in (None, name):
            raise
        return default


_NOTHING = object()


class _NoFunctionError(Exception):
    """There is no function of a call's name; its own text says why."""


_load = lru_cache(maxsize=None)(load_target)


def _function(target: str) -> Callable[[Visit], object]:
    try:
        function: Callable[[Visit], object] = _load(target)
    except (ImportError, ValueError) as error:
        raise _NoFunctionError(str(error)) from error
    return function


def _is_async(source: ValueSource) -> bool:
    """Whether it is an async function, which has to be called on an event loop."""
    if source.kind != "call":
        return False
    function = _function(source.name)
    return any(map(inspect.iscoroutinefunction, (function, type(function).__call__)))
