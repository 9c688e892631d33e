"""Imports objects that settings name, as in ``shop.customers:current_id``.

A file can only name an object; code may give the object itself.
"""

from __future__ import annotations

import importlib
import inspect
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def check_target(target: str) -> str:
    """Return ``target`` if it has the form ``pkg.mod:function``.

    Raises:
        ValueError: It has another form.
    """
    if _TARGET.fullmatch(target):
        return target
    meant = _meant(target)
    about = f": write {meant!r}" if meant is not None else ""
    raise ValueError(f"{target!r} is not of the form 'pkg.mod:function'{about}")


def call_fault(target: str | Callable[..., object]) -> str | None:
    """Return why ``target`` cannot be called with one argument; None if it can.

    Imports the module of ``target``.
    """
    name = name_of(target)
    try:
        found = load(target)
    except ValueError as error:
        return str(error)
    except Exception as error:
        return f"{name!r} cannot be imported: {type(error).__name__}: {error}"
    if not callable(found):
        return f"{name!r} is {type(found).__name__}: name a function of one Visit"
    takes = unfit_signature(found, None)
    return takes and f"{name!r} takes {takes}: write a function of one Visit"


def unfit_signature(found: Callable[..., object], *given: object) -> str | None:
    """Return an object's signature if it cannot be called with ``given``, else None."""
    try:
        inspect.signature(found).bind(*given)
    except TypeError:
        return str(inspect.signature(found))
    except ValueError:
        pass  # written in C, without a signature
    return None


def name_of(target: object) -> str:
    """Return the name of an object as in a file; an instance has its class's name.

    Its ``repr`` may show its arguments, such as a token.
    """
    if isinstance(target, str):
        return target
    while isinstance(target, partial):
        target = target.func
    named: Any = target if hasattr(target, "__qualname__") else type(target)
    return f"{named.__module__ or 'builtins'}:{named.__qualname__}"


@dataclass(frozen=True, slots=True)
class OrObject:
    """Annotates a field that takes an object beside its name.

    Attributes:
        accepts: Whether an object may be given; anything else must be text.
    """

    accepts: Callable[[object], bool]

    def __get_pydantic_core_schema__(
        self, _: object, __: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(
            lambda given, text: given if self.accepts(given) else text(given),
            core_schema.str_schema(),
            serialization=core_schema.plain_serializer_function_ser_schema(
                name_of, return_schema=core_schema.str_schema()
            ),
        )


def check_picklable(where: str, target: object) -> None:
    """Check that an object can be sent to another process.

    Raises:
        PicklingError: It cannot.
    """
    try:
        pickle.dumps(target)
    except Exception as error:
        raise pickle.PicklingError(
            f"{where}: {name_of(target)!r} cannot be sent to another process "
            f"({type(error).__name__}): make it at the top of a module, and give it "
            "by name, as 'pkg.mod:object'"
        ) from error


def is_target(text: str) -> bool:
    """Whether a text has the form ``pkg.mod:function``."""
    return _TARGET.fullmatch(text) is not None


def _meant(target: str) -> str | None:
    """Return ``shop.cart:size`` for ``shop/cart.py:size()`` and ``shop.cart.size``."""
    text = re.sub(r"\(.*\)$", "", target.strip())
    text = re.sub(r"\.py(?=:|$)", "", text).replace("::", ":").replace("/", ".")
    if ":" not in text:
        module, _, name = text.rpartition(".")
        text = f"{module}:{name}"
    return text if text != target and is_target(text) else None


def load(target: str | object) -> Any:
    """Return an object that is given, or named: see ``load_target``."""
    return load_target(target) if isinstance(target, str) else target


def load_target(target: str) -> Any:
    """Import the object that ``pkg.mod:function`` names.

    Raises:
        ValueError: The text has another form, or there is no such module or object.
        ImportError: The module itself raised it, or ended the process.
    """
    module_name, _, attribute_path = check_target(target).partition(":")
    try:
        found = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ValueError(f"{target!r}: there is no module {error.name!r}") from error
    except SystemExit as error:
        raise ImportError(
            f"{module_name!r} ends the process while it is imported: put what only a "
            "script does below 'if __name__ == \"__main__\":'"
        ) from error
    for name in attribute_path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            near = get_close_matches(name, dir(found), n=1)
            about = f": did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"{target!r}: {module_name!r} has no attribute "
                f"{attribute_path!r}{about}"
            ) from error
    return found
