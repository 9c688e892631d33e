"""Python objects named in a settings file, as in ``shop.customers:current_id``."""

from __future__ import annotations

import importlib
import inspect
import re
from difflib import get_close_matches
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


def call_fault(target: str) -> str | None:
    """Return why ``target`` cannot be called with one argument; None where it can.

    The module that it names is imported.
    """
    try:
        found = load_target(target)
    except ValueError as error:
        return str(error)
    except Exception as error:
        return f"{target!r} cannot be imported: {type(error).__name__}: {error}"
    if not callable(found):
        return f"{target!r} is {type(found).__name__}: name a function of one Visit"
    try:
        inspect.signature(found).bind(None)
    except TypeError:
        takes = inspect.signature(found)
        return f"{target!r} takes {takes}: write a function of one Visit"
    except ValueError:
        pass  # one in C, which does not say
    return None


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
            near = get_close_matches(name, dir(found), n=1)
            about = f": did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"{target!r}: {module_name!r} has no attribute "
                f"{attribute_path!r}{about}"
            ) from error
    return found
