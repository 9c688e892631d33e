"""Validates sections of settings, and explains every mistake. Pure: no I/O."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Self, TypeGuard, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic.functional_validators import ModelWrapValidatorHandler
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

Place = tuple[str | int, ...]
"""The place of a value in the tree, as in ``("routes", 0, "path")``."""

_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Mistake:
    """One wrong value: its place in the tree, and a message with what to do.

    A document makes a ``Problem`` of it, with its file and line.
    """

    place: Place
    message: str


class Section(BaseModel):
    """A group of settings. All mistakes are reported together.

    A key without a value counts as left out, as when all its lines are comments.
    """

    # Numbers are accepted as text: an id of digits needs no quotes.
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        coerce_numbers_to_str=True,
        hide_input_in_errors=True,
        validate_default=False,
        # Built at the first use, and each once: within another it is built again.
        defer_build=True,
    )

    @classmethod
    def prepared(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Return the given values, completed by those that follow from them."""
        return given

    @classmethod
    def cross_checked(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        """Yield the mistakes that show only when values are compared."""
        yield from ()

    @model_validator(mode="wrap")
    @classmethod
    def _check(cls, given: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(given, Mapping):
            return handler(given)
        present = cls.prepared(
            {
                key: value
                for key, value in given.items()
                if value is not None or key not in cls.model_fields
            }
        )
        found = [_as_detail(mistake) for mistake in cls.cross_checked(present)]
        try:
            made = handler(present)
        except ValidationError as error:
            found = [*_details(error), *found]
        if found:
            raise ValidationError.from_exception_data(cls.__name__, found)
        return made


def value_in(section: Any, key: str) -> Any:
    """Return a value of a section, validated or not; None if absent."""
    if isinstance(section, Mapping):
        return section.get(key)
    return getattr(section, key, None) if isinstance(section, BaseModel) else None


def explained(error: ValidationError, model: type[BaseModel]) -> list[Mistake]:
    """Return an error's mistakes in our own sentences; secrets are not shown."""
    listed: dict[str, str] = {}
    details = error.errors(include_url=False)
    # Pydantic does not count the entries that are wrong themselves.
    # Pydantic reports "too short" for a list whose wrong entries it did not count.
    holders = {one["loc"][:end] for one in details for end in range(len(one["loc"]))}
    return [
        Mistake(
            detail["loc"],
            _listed_once(
                _sentence(detail, model),
                repr(str(detail["loc"][-1]) if detail["loc"] else ""),
                listed,
            ),
        )
        for detail in details
        if detail["type"] != "too_short" or detail["loc"] not in holders
    ]


def suggestion(given: str, known: Iterable[str], *, kind: str) -> str:
    """Return a sentence on an unknown name, with the nearest known one or with all."""
    names = list(known)
    near = get_close_matches(given, names, n=1, cutoff=0.6)
    if near:
        return f"unknown {kind} {given!r}: did you mean {near[0]!r}?"
    return f"unknown {kind} {given!r}: use one of {', '.join(names)}"


_CHOICES = ": use one of "
_LONG_LIST = 10


def _listed_once(sentence: str, key: str, listed: dict[str, str]) -> str:
    """Replace a long list of names that an earlier message has already.

    Args:
        sentence: The result of ``suggestion``.
        key: The key with the mistake.
        listed: The key of the first message with each long list; extended here.
    """
    about, found, names = sentence.partition(_CHOICES)
    if not found or names.count(", ") < _LONG_LIST:
        return sentence
    if names in listed:
        return f"{about}{_CHOICES}those listed for {listed[names]}"
    listed[names] = key
    return sentence


def shown(value: object) -> str:
    """Return a value for a message: shortened, and sections as "a mapping"."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping | BaseModel):
        return "a mapping"
    if isinstance(value, list | tuple | set | frozenset):
        return "a list"
    if callable(value) and not isinstance(value, type):
        return "a function"  # its text may contain its arguments
    text = f"{value:.12g}" if type(value) is float else repr(value)
    if len(text) > _SHOWN_CHARACTERS:
        return f"{text[:_SHOWN_CHARACTERS]}…"
    return text


def _as_detail(mistake: Mistake) -> InitErrorDetails:
    kind = PydanticCustomError("mistake", "{text}", {"text": mistake.message})
    return InitErrorDetails(type=kind, loc=mistake.place, input=None)


def _details(error: ValidationError) -> Iterator[InitErrorDetails]:
    for detail in error.errors(include_url=False):
        if detail["type"] == "mistake":
            yield _as_detail(Mistake(detail["loc"], detail["msg"]))
        else:
            yield InitErrorDetails(
                type=detail["type"],
                loc=detail["loc"],
                input=detail["input"],
                ctx=detail.get("ctx", {}),
            )


# Our messages for pydantic's types of errors.
_EXPECTED: dict[str, str] = {
    "string_type": "is not text",
    "int_type": "is not a whole number",
    "int_parsing": "is not a whole number",
    "int_parsing_size": "is not a usable number",
    "int_from_float": "is not a whole number",
    "float_type": "is not a number",
    "float_parsing": "is not a number",
    "finite_number": "is not a finite number",
    "bool_type": "is not a boolean: write true or false",
    "bool_parsing": "is not a boolean: write true or false",
    "tuple_type": "is not a list: write it as [one, another]",
    "list_type": "is not a list: write it as [one, another]",
    "dict_type": "is not a mapping: write it as lines of 'key: value'",
    "model_type": "is not a mapping: write it as lines of 'key: value'",
    "model_attributes_type": "is not a mapping: write it as lines of 'key: value'",
    "string_too_short": "is too short: it needs at least {min_length} character(s)",
    "string_too_long": "is too long: it may have at most {max_length} characters",
    "too_short": "has too few entries: it needs at least {min_length}",
    "too_long": "has too many entries: it may have at most {max_length}",
    "greater_than": "is too small: it must be more than {gt}",
    "greater_than_equal": "is too small: it must be at least {ge}",
    "less_than": "is too large: it must be less than {lt}",
    "less_than_equal": "is too large: it may be at most {le}",
}


def _sentence(detail: ErrorDetails, model: type[BaseModel]) -> str:
    kind, place = detail["type"], detail["loc"]
    ctx = detail.get("ctx", {})
    match kind:
        case "mistake":
            return detail["msg"]
        case "value_error":
            return str(ctx["error"])
        case "extra_forbidden":
            return _unknown_key(place, model)
        case "missing":
            return _missing(place, model)
    if detail["input"] is None:
        return "has no value: write one, or leave the line out"
    given = "the value" if _is_secret(place, model) else shown(detail["input"])
    if kind == "literal_error":
        return f"{given} is not known: use {ctx['expected']}"
    if kind == "string_type" and isinstance(detail["input"], Mapping):
        return f"{given} is not text: put a text with braces in quotes"
    if kind == "string_type" and isinstance(detail["input"], bool):
        return f"{given} is not text: put it in quotes"
    expected = _EXPECTED.get(kind)
    if expected is None:
        return f"{given}: {detail['msg']}"
    return f"{given} {expected.format_map({k: _short(v) for k, v in ctx.items()})}"


def _short(limit: object) -> object:
    return f"{limit:.12g}" if isinstance(limit, float) else limit


def _unknown_key(place: Place, model: type[BaseModel]) -> str:
    holder = _annotation(place[:-1], model)
    fields = holder.model_fields if _is_model(holder) else {}
    key = str(place[-1])
    for name, field in fields.items():
        section = _bare(field.annotation)
        if _is_model(section) and key in section.model_fields:
            return f"unknown key {key!r}: it belongs in {name!r}"
    return suggestion(key, fields, kind="key")


def _missing(place: Place, model: type[BaseModel]) -> str:
    holder = _annotation(place[:-1], model)
    field = holder.model_fields.get(str(place[-1])) if _is_model(holder) else None
    about = field.description if field and field.description else "it must be given"
    return f"missing: {about[0].lower()}{about[1:]}".rstrip(".")


def _is_secret(place: Place, model: type[BaseModel]) -> bool:
    return any(
        _mentions(_annotation(place[:end], model), SecretStr)
        for end in range(1, len(place) + 1)
        if not _is_model(_annotation(place[:end], model))
    )


def _mentions(annotation: Any, wanted: type) -> bool:
    return annotation is wanted or any(
        _mentions(part, wanted) for part in get_args(annotation)
    )


def _annotation(place: Place, model: type[BaseModel]) -> Any:
    """Return the type that the model has at a place; None if it has none."""
    found: Any = model
    for step in place:
        found = _inner(found, step)
    return found


def _inner(holder: Any, step: str | int) -> Any:
    if _is_model(holder):
        field = holder.model_fields.get(str(step))
        return _bare(field.annotation) if field else None
    parts = get_args(holder)
    of_values = 1 if get_origin(holder) is dict else 0
    return _bare(parts[of_values]) if parts else None


def _bare(annotation: Any) -> Any:
    """Strip ``Annotated`` and ``| None`` off a type."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _bare(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        parts = [part for part in get_args(annotation) if part is not type(None)]
        return _bare(parts[0]) if len(parts) == 1 else None
    return annotation


def _is_model(kind: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
