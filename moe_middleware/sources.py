"""Where a value comes from: a cookie, a header, ... or a function of the app's own."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property, lru_cache
from typing import Any, Self
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .source_names import check_source_name, no_source
from .targets import check_target, load_target
from .visits import Visit

logger = logging.getLogger(__name__)

KINDS = ("cookie", "header", "query", "path", "session", "user", "value", "call")

_LAZY = frozenset({"session", "user", "call"})

_OF_THE_PAGE = frozenset({"path", "query", "value"})


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

    @property
    def is_lazy(self) -> bool:
        """Whether reading it may run the app's own code, and so ask a database."""
        return self.kind in _LAZY

    @property
    def is_of_the_page(self) -> bool:
        """Whether it says which page was requested, and nothing about the visitor."""
        return self.kind in _OF_THE_PAGE

    @cached_property
    def read(self) -> Reader:
        """A function from a visit and its path parameters to the value as text.

        It is None where the request has none; an async function's has to be awaited.
        A function that raises counts as no value, with one log line.
        """
        return _reader(self.kind, self.name)

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


Reader = Callable[[Visit, Mapping[str, Any]], str | Awaitable[str | None] | None]


def _reader(kind: str, name: str) -> Reader:
    match kind:
        case "cookie":
            return lambda visit, _: _unquoted(visit.cookie(name))
        case "header":
            return lambda visit, _: visit.header(name)
        case "query":
            return lambda visit, _: visit.query(name)
        case "path":
            return lambda _, path_params: as_text(path_params.get(name))
        case "session":
            return lambda visit, _: as_text(_inward(visit.session, name))
        case "user":
            return lambda visit, _: _of_user(visit.user, name)
        case "value":
            return lambda *_: name
        case _:
            return lambda visit, _: _call(name, visit)


async def read_text(
    source: ValueSource | None, visit: Visit, path_params: Mapping[str, Any]
) -> str | None:
    """Return a source's value as text; no source has none."""
    if source is None:
        return None
    value = source.read(visit, path_params)
    return value if value is None or isinstance(value, str) else await value


async def read_texts(
    sources: Mapping[str, ValueSource], visit: Visit, path_params: Mapping[str, Any]
) -> dict[str, str]:
    """Return the values that the request has, by their names, without empty ones."""
    texts = {}
    for name, source in sources.items():
        if text := await read_text(source, visit, path_params):
            texts[name] = text
    return texts


def as_text(value: object) -> str | None:
    """Return a value as the API takes it: text; None stays None."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _unquoted(cookie: str | None) -> str | None:
    return unquote(cookie) if cookie and "%" in cookie else cookie


def _of_user(user: object, name: str) -> str | None:
    signed_in = getattr(user, "is_authenticated", True)
    return as_text(_inward(user, name)) if signed_in else None


def _inward(holder: object, name: str) -> object:
    if isinstance(holder, Mapping) and name in holder:
        return holder[name]
    for part in name.split("."):
        if isinstance(holder, Mapping):
            holder = holder.get(part)
        else:
            holder = getattr(holder, part, None)
    return holder


_load = lru_cache(maxsize=None)(load_target)


async def _call(target: str, visit: Visit) -> str | None:
    try:
        value = _load(target)(visit)
        if inspect.isawaitable(value):
            value = await value
        return as_text(value)
    except Exception as error:
        # The error's text may hold an id; its class does not.
        logger.warning("value_failed call=%s error=%s", target, type(error).__name__)
        return None
