"""Where a value comes from: a cookie, a header, ... or a function of the app."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, lru_cache
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..models.visits import Visit
from .import_strings import (
    OrObject,
    check_picklable,
    check_target,
    load_target,
    name_of,
)
from .source_names import check_source_name, no_source

_LAZY = frozenset({"session", "user", "call"})

_OF_THE_PAGE = frozenset({"path", "query", "value"})

_WRITTEN_BY_ANYONE = frozenset({"cookie", "header", "query"})


Function = Callable[[Visit], object]
"""Returns a value of a request: text, None, or an awaitable of one."""


class ValueSource(BaseModel):
    """Where one value comes from: exactly one of the kinds below."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, coerce_numbers_to_str=True, defer_build=True
    )

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
    call: Annotated[str | Function, OrObject(callable)] | None = Field(
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
            kinds = " and ".join(given) if given else "nothing"
            raise ValueError(
                f"{kinds} given: a value has exactly one source, one of "
                f"{', '.join(KINDS)}"
            )
        if isinstance(self.call, str):
            check_target(self.call)
        check_source_name(self.kind, self.name)
        return self

    @cached_property
    def kind(self) -> str:
        """The kind of the source, one of ``KINDS``."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @cached_property
    def name(self) -> str:
        """The cookie's name, the header's name, ... or the text itself."""
        return name_of(getattr(self, self.kind))

    @cached_property
    def is_lazy(self) -> bool:
        """Whether reading it may run code of the app, which may query a database."""
        return self.kind in _LAZY

    @cached_property
    def is_of_the_page(self) -> bool:
        """Whether it depends on the page alone, and not on the visitor."""
        return self.kind in _OF_THE_PAGE

    @cached_property
    def is_written_by_anyone(self) -> bool:
        """Whether clients choose the value freely: a cookie, a header, a parameter."""
        return self.kind in _WRITTEN_BY_ANYONE

    @cached_property
    def read(self) -> Reader:
        """A function that takes a visit and its path parameters; returns the raw value.

        The value is None if the request has none; for async functions of the app it is
        an awaitable. Exceptions of the app's code pass through.
        """
        if self.call is not None:
            return _calling(self.call)
        return _reader(self.kind, self.name)

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, value if value is None else name_of(value)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        # A copy calls the very same function, which may be an object's method.
        return super().__deepcopy__({**(memo or {}), id(self.call): self.call})

    def __getstate__(self) -> dict[Any, Any]:
        check_picklable("call", self.call)
        # The reader is a closure, which cannot be pickled; it is made again.
        state = super().__getstate__()
        kept = {key: one for key, one in state["__dict__"].items() if key != "read"}
        return {**state, "__dict__": kept}


KINDS = tuple(ValueSource.model_fields)

Reader = Callable[[Visit, Mapping[str, Any]], object]


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
        case _:
            return lambda *_: name


def _calling(call: str | Function) -> Reader:
    if isinstance(call, str):
        return lambda visit, _: _function(call)(visit)
    return lambda visit, _: call(visit)


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
    # Some sessions are no Mapping, but have __getitem__.
    if getter is not None and not isinstance(holder, str | bytes):
        try:
            return getter(holder, name)
        except (LookupError, TypeError):
            pass
    return attribute(holder, name)


def attribute(holder: object, name: str, default: object = None) -> object:
    """Return an attribute, or ``default`` if it is missing.

    Raises:
        AttributeError: The attribute exists, and its own code raised this. ``getattr``
            with a default would hide it.
    """
    try:
        return getattr(holder, name)
    except AttributeError as error:
        # __class__ of a lazy proxy is the class of the real object.
        there = inspect.getattr_static(holder.__class__, name, _NOTHING)
        if there is not _NOTHING or error.name not in (None, name):
            raise
        return default


_NOTHING = object()


class NoFunctionError(Exception):
    """The function that ``call`` names cannot be imported; the text has the reason."""


_load = lru_cache(maxsize=None)(load_target)


def _function(target: str) -> Function:
    try:
        function: Function = _load(target)
    except (ImportError, ValueError) as error:
        raise NoFunctionError(str(error)) from error
    return function


def is_async(source: ValueSource) -> bool:
    """Whether it is an async function, which has to be called on an event loop."""
    call = source.call
    if call is None:
        return False
    function = _function(call) if isinstance(call, str) else call
    return any(map(inspect.iscoroutinefunction, (function, type(function).__call__)))
