"""Reads a payload as a class of the app: a TypedDict, a dataclass, a pydantic model."""

from __future__ import annotations

import logging
import re
import sys
import typing
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from math import isfinite
from typing import (
    Annotated,
    Any,
    NamedTuple,
    NotRequired,
    Required,
    TypeVar,
    get_args,
    get_origin,
)

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from typing_extensions import TypedDict, is_typeddict  # pydantic brings it

from ..logs.log_lines import one_line
from ..logs.repeated_lines import RepeatLogger
from .experience import Experience

T = TypeVar("T")

_lines = RepeatLogger(logging.getLogger(__name__))


class Misfit(NamedTuple):
    """A payload value that does not fit a class; without the value itself.

    Attributes:
        field: Its name in the payload; the class's where it is missing; ``-`` for none.
        expected: Its type in the class.
        given: The name of its type; ``nothing`` where it is missing.
        problem: The check that failed: a kind of pydantic's errors, or the name of an
            exception.
    """

    field: str
    expected: str
    given: str
    problem: str


def typed_payload(experience: Experience, kind: type[T]) -> T | None:
    """Return an experience's payload as ``kind``; None if it does not fit.

    A payload that does not fit is logged, once in ten seconds.

    Args:
        experience: With a match or without one; without, None is returned.
        kind: See ``Experiences.typed``.

    Raises:
        TypeError: ``kind`` is no such class.
    """
    # Also without a match: a wrong class shows at the first page.
    reader = reader_of(kind)
    if not experience:
        return None
    value, misfits = reader.read(experience.payload)
    if not misfits:
        return typing.cast(T, value)
    _lines.log(
        logging.WARNING,
        "bad_payload key=%s field=%s expected=%s given=%s problem=%s type=%s: %s",
        one_line(experience.key),
        *map(one_line, misfits[0]),
        one_line(kind.__name__),
        _ADVICE,
    )
    return None


_ADVICE = (
    "pages get the fallback; mend the variation in the dashboard, or the class: "
    "'moe-middleware check --types' compares both"
)


class Reader(NamedTuple):
    """Reads payloads as a class.

    Attributes:
        adapter: Pydantic's reader of this class.
        attributes: Names that stand for a payload value's name in other spelling.
        expected: The types of the fields, as text, by name and alias.
        has_floats: Whether it may contain floats.
    """

    adapter: TypeAdapter[Any]
    attributes: frozenset[str]
    expected: Mapping[str, str]
    has_floats: bool

    def read(self, payload: Mapping[str, Any]) -> tuple[Any, list[Misfit]]:
        """Return a payload as the class, or all its misfits."""
        given = self._named(payload)
        try:
            value = self.adapter.validate_python(given)
            odd = _without_number(given, value) if self.has_floats else ()
            faults: list[tuple[tuple[int | str, ...], str]]
            faults = [((name,), "finite_number") for name in odd]
        except ValidationError as error:
            found = error.errors(
                include_url=False, include_context=False, include_input=False
            )
            faults = [(one["loc"][:1], one["type"]) for one in found]
        except Exception as error:
            # Code of the app, as a dataclass's __post_init__, may raise anything.
            faults = [((), type(error).__name__)]
        if not faults:
            return value, []
        return None, [
            self._misfit(str(where[0]) if where else "", problem, given, payload)
            for where, problem in faults
        ]

    def _misfit(
        self,
        name: str,
        problem: str,
        given: Mapping[str, Any],
        payload: Mapping[str, Any],
    ) -> Misfit:
        return Misfit(
            self._payload_name(name, payload) or "-",
            self.expected.get(name, "-"),
            type(given[name]).__name__ if name in given else "nothing",
            # The app's own kinds of errors may have any text.
            problem if re.fullmatch(r"\w{1,40}", problem) else "custom",
        )

    def _named(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Return a payload with the names that the class has for its values."""
        given = dict(payload)
        for name in self.attributes - given.keys():
            found = self._payload_name(name, payload)
            if found in given:
                given[name] = given.pop(found)
        return given

    def _payload_name(self, name: str, payload: Mapping[str, Any]) -> str:
        """Return the name in the payload of a name in the class."""
        if name in payload or name not in self.attributes:
            return name
        wanted = attribute_name(name)
        same = (one for one in payload if attribute_name(one) == wanted)
        return next(same, name)


@lru_cache(maxsize=1024)
def attribute_name(name: str) -> str:
    """Return a payload value's name as an attribute: ``cta_label`` of "CTA Label"."""
    # Python's identifiers are normalized so.
    same = unicodedata.normalize("NFKC", name)
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|\W+", "_", same)
    return words.strip("_").lower()


def reader_of(kind: object) -> Reader:
    """Return the reader of a class.

    Raises:
        TypeError: It is no TypedDict, dataclass or pydantic model, or cannot be read.
    """
    return _reader(kind)


@lru_cache(maxsize=256)
def _reader(kind: Any) -> Reader:
    base = get_origin(kind) or kind
    is_model = isinstance(base, type) and issubclass(base, BaseModel)
    is_record = isinstance(base, type) and is_dataclass(base)
    if not (is_model or is_record or is_typeddict(base)):
        raise TypeError(
            f"{kind!r} is no TypedDict, dataclass or pydantic model: write its class, "
            "as in experiences.typed('hero', Hero)"
        )
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(_without_old_dicts(kind))
        if is_model:
            found = {
                name: (one.annotation, one.validation_alias)
                for name, one in base.model_fields.items()
            }
        else:
            hints = typing.get_type_hints(base, include_extras=True)
            found = {name: _parted(hint) for name, hint in hints.items()}
    except (Exception, RecursionError) as error:
        about = ": define it at a module's top" if isinstance(error, NameError) else ""
        raise TypeError(
            f"{base.__name__} cannot be read as a payload's type: {error}{about}"
        ) from error
    # With an alias, the class says itself what the name in the payload is.
    unaliased = {name for name, (_, alias) in found.items() if alias is None}
    return Reader(
        adapter,
        frozenset() if is_typeddict(base) else frozenset(unaliased),
        {
            alias if isinstance(alias, str) else name: _text(annotation)
            for name, (annotation, alias) in found.items()
        },
        "float" in repr(adapter.core_schema),
    )


def _without_number(given: Mapping[str, Any], value: Any) -> list[str]:
    """Return the names of the payload values that were read as infinity or NaN.

    JSON has no such number, but pydantic reads the texts ``nan`` and ``1e400`` as one.

    Args:
        given: The payload, by the names of the class.
        value: What it was read as.
    """
    return [
        name
        for name, one in given.items()
        if _any_in(one, _is_odd_text)
        # A field with an alias is not found by it: any field counts then.
        and _any_in(
            value.get(name)
            if isinstance(value, Mapping)
            else getattr(value, name, value),
            lambda one: isinstance(one, float) and not isfinite(one),
        )
    ]


def _is_odd_text(value: object) -> bool:
    return isinstance(value, str) and _ODD_TEXT.fullmatch(value) is not None


_ODD_TEXT = re.compile(
    r"\s*[+-]?(nan|inf|infinity|[\d._]+e\+?[\d_]{3,}|[\d._]{309,})\s*", re.IGNORECASE
)


def _any_in(value: Any, is_odd: Callable[[object], bool]) -> bool:
    """Whether a value or a part of it is odd."""
    parts: Iterable[Any] = ()
    if isinstance(value, Mapping):
        parts = value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        parts = value
    elif isinstance(value, BaseModel):
        parts = [part for _, part in value]
    elif is_dataclass(value):
        parts = [getattr(value, one.name, None) for one in fields(value)]
    return is_odd(value) or any(_any_in(part, is_odd) for part in parts)


def _parted(hint: Any) -> tuple[Any, Any]:
    """Return a field's annotation, and its alias if it has one."""
    while get_origin(hint) in (Required, NotRequired):
        hint = get_args(hint)[0]
    if get_origin(hint) is not Annotated:
        return hint, None
    inner, *rest = get_args(hint)
    aliases = [one.validation_alias for one in rest if isinstance(one, FieldInfo)]
    return inner, next((one for one in aliases if one is not None), None)


def _text(annotation: Any) -> str:
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return annotation.__name__
    return _MODULES.sub("", str(annotation))


_MODULES = re.compile(r"(?<![\w.'\"])(?:\w+\.)+(?=[A-Za-z_])")
"""The modules before a name; not a text in a Literal."""


def _without_old_dicts(kind: Any) -> Any:
    """Return a type in which pydantic can read all TypedDicts.

    Before Python 3.12 those of the standard library do not know enough for it.
    """
    if sys.version_info >= (3, 12):
        return kind
    if typing.is_typeddict(kind):
        hints = typing.get_type_hints(kind, include_extras=True)
        make: Any = TypedDict
        made = make(
            kind.__name__,
            {
                name: _needed(annotation, name in kind.__required_keys__)
                for name, annotation in hints.items()
            },
        )
        made.__module__ = kind.__module__
        if hasattr(kind, "__pydantic_config__"):
            made.__pydantic_config__ = kind.__pydantic_config__
        return made
    origin, inner = get_origin(kind), get_args(kind)
    if not inner or origin is typing.Literal:
        return kind
    if origin is Annotated:
        return Annotated[(_without_old_dicts(inner[0]), *inner[1:])]
    if origin in (typing.Union, getattr(sys.modules["types"], "UnionType", None)):
        return typing.Union[tuple(map(_without_old_dicts, inner))]  # noqa: UP007
    return origin[tuple(map(_without_old_dicts, inner))] if origin else kind


def _needed(annotation: Any, by_class: bool) -> Any:
    """Return a field of a TypedDict, marked as required or not."""
    origin = get_origin(annotation)
    explicit = origin in (Required, NotRequired)
    inner = _without_old_dicts(get_args(annotation)[0] if explicit else annotation)
    needed = origin is Required if explicit else by_class
    return Required[inner] if needed else NotRequired[inner]
