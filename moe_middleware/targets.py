"""Python objects named in a settings file, as in ``shop.customers:current_id``."""

from __future__ import annotations

import importlib
import re
from typing import Any

_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def check_target(target: str) -> str:
    """Return ``target`` if it has the form ``pkg.mod:function``.

    Raises:
        ValueError: It has not.
    """
    if _TARGET.fullmatch(target):
        return target
    meant = _meant(target)
    about = f": write {meant!r}" if meant is not None else ""
    raise ValueError(f"{target!r} is not of the form 'pkg.mod:function'{about}")


def is_target(text: str) -> bool:
    """Whether a text has the form ``pkg.mod:function``."""
    return _TARGET.fullmatch(text) is not None


def _meant(target: str) -> str | None:
    """Return what ``shop/cart.py:size()`` and ``shop.cart.size`` are in our form."""
    text = re.sub(r"\(.*\)$", "", target.strip())
    text = re.sub(r"\.py(?=:|$)", "", text).replace("::", ":").replace("/", ".")
    if ":" not in text:
        module, _, name = text.rpartition(".")
        text = f"{module}:{name}"
    return text if text != target and is_target(text) else None


def load_target(target: str) -> Any:
    """Import the object that ``pkg.mod:function`` names.

    An ImportError inside the named module passes through untouched.

    Raises:
        ValueError: The text has another form, or there is no such module or object.
    """
    module_name, _, attribute_path = check_target(target).partition(":")
    try:
        found = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ValueError(f"{target!r}: there is no module {error.name!r}") from error
    for name in attribute_path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            raise ValueError(
                f"{target!r}: {module_name!r} has no attribute {attribute_path!r}"
            ) from error
    return found
