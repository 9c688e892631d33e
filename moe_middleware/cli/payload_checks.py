"""Compares templates and classes with the payloads of a workspace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from ..models.errors import Problem

if TYPE_CHECKING:
    from ..models.typed_payloads import Misfit
    from .known_payloads import Payload, Payloads


def unknown_names(
    reads: Iterable[tuple[str, int, str, str]], known: Payloads
) -> Iterator[Problem]:
    """Yield a problem for each name that none of an experience's payloads has.

    Args:
        reads: The values that templates read: file, line, key and name.
        known: The payloads. Keys that are not in it are passed over.
    """
    for file, line, key, name in reads:
        names = {one for payload in known.get(key, ()) for one in payload.values}
        if key in known and name not in names:
            message = f"no payload of {key!r} has {name!r}{_nearest(name, names)}"
            yield Problem(where="", message=message, file=file, line=line)


def unfit_types(target: str, known: Payloads) -> Iterator[Problem]:
    """Yield a problem for each payload that its class does not take.

    Args:
        target: A module, or ``module:NAME``, with a mapping from keys to classes; the
            command ``types`` writes one as ``PAYLOADS``.
        known: The payloads. Keys that are not in it are passed over.
    """
    from ..models.typed_payloads import reader_of

    try:
        classes = _classes(target)
        readers = {key: reader_of(kind) for key, kind in classes.items()}
    except Exception as error:
        about = f"{type(error).__name__}: {error}"
        yield Problem(where=target, message=f"it cannot be used: {about}")
        return
    for key, reader in readers.items():
        name = classes[key].__name__
        reported: set[str] = set()
        for payload in known.get(key, ()):
            for misfit in reader.read(payload.values)[1]:
                message = _unfit(misfit, payload, name)
                if misfit.field not in payload.templated and message not in reported:
                    reported.add(message)
                    yield Problem(where=f"{target}: {key}", message=message)


def unseen_keys(target: str, known: Payloads) -> list[str]:
    """Return the keys that have a class and no known payload."""
    try:
        return sorted({*_classes(target)} - {*known})
    except Exception:
        return []  # ``unfit_types`` says why


def _classes(target: str) -> Mapping[str, Any]:
    from ..settings.import_strings import load_target

    found = load_target(target if ":" in target else f"{target}:PAYLOADS")
    if not isinstance(found, Mapping):
        raise TypeError(
            f"{type(found).__name__} is no mapping from keys to classes, as in "
            "PAYLOADS = {'hero': Hero}"
        )
    return found


def _unfit(misfit: Misfit, payload: Payload, kind: str) -> str:
    if misfit.given == "nothing" and misfit.field != "-":
        near = _nearest(misfit.field, payload.values)
        return f"{payload.where} lacks {misfit.field!r}, which {kind} needs{near}"
    return (
        f"{payload.where}: {misfit.field!r} is {misfit.given}, and in {kind} "
        f"{misfit.expected} ({misfit.problem})"
    )


def _nearest(name: str, names: Iterable[str]) -> str:
    known = sorted(names)
    by_lower = {one.lower(): one for one in known}
    near = get_close_matches(name.lower(), by_lower, n=1)
    if near:
        return f": did you mean {by_lower[near[0]]!r}?"
    return f": there are {', '.join(known)}" if known else ": it is empty"
