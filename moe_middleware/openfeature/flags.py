"""Flag keys, and the SDK's details of an experience. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagResolutionDetails, FlagType, Reason

from ..models.experience import Experience
from ..models.reasons import Reason as OurReason
from ..telemetry.conventions import error_type, result_reason

T = TypeVar("T")

_WRONG: Any = object()


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag: an experience, or one value of its payload.

    Attributes:
        key: The experience key.
        value: The name of the payload value; None for the whole payload.
    """

    key: str
    value: str | None = None

    @classmethod
    def of(cls, flag_key: str, known: Collection[str]) -> Flag:
        """Return the flag of a flag key, as in ``hero`` or ``hero.Title``.

        Args:
            flag_key: An experience key, or one with a dot and the name of a value.
            known: Known experience keys, which may have dots themselves.
        """
        if flag_key in known or "." not in flag_key:
            return cls(flag_key)
        parts = flag_key.split(".")
        # The longest: a new experience `a` must not take the flags of `a.b`.
        for length in range(len(parts) - 1, 0, -1):
            key = ".".join(parts[:length])
            if key in known:
                return cls(key, ".".join(parts[length:]))
        key, _, value = flag_key.partition(".")
        return cls(key, value)


def details(
    flag: Flag,
    found: Experience,
    kind: FlagType,
    default: T,
    is_known: bool,
) -> FlagResolutionDetails[T]:
    """Return the value of a flag, or the default with the reason.

    ``is_known`` says whether the workspace has the experience, as far as is known.
    """
    about = _metadata(found)
    if found:
        return _value(flag, found, kind, default, about)
    if found.reason is OurReason.NO_MATCH and not is_known:
        message = f"the workspace has no experience {flag.key!r}"
        return failed(default, ErrorCode.FLAG_NOT_FOUND, message, about)
    error = error_type(found.source, found.reason)
    if error is None:
        reason = Reason(result_reason(found.source, found.reason).upper())
        return FlagResolutionDetails(default, reason=reason, flag_metadata=about)
    code = ErrorCode.GENERAL
    if error.upper() in ErrorCode.__members__:
        code = ErrorCode[error.upper()]
    return failed(default, code, _MESSAGES.get(error, error), about)


_MESSAGES = {
    "flag_not_found": "no route of this page names the experience, and a page "
    "gets no others: name it in a route of moe.yml",
    "provider_not_ready": "the experience is not there yet: await the _async method, "
    "or experiences.ready()",
    "general": "an unexpected error; the log names the error's class",
}


def _value(
    flag: Flag,
    found: Experience,
    kind: FlagType,
    default: T,
    about: Mapping[str, str],
) -> FlagResolutionDetails[T]:
    value: Any = found.payload
    reason = Reason(result_reason(found.source, found.reason).upper())
    variant = found.variation
    if not found.payload:
        # A variation without content, as of a control group.
        return FlagResolutionDetails(
            default, reason=Reason.DEFAULT, variant=variant, flag_metadata=about
        )
    if flag.value is not None:
        if flag.value not in found:
            there = ", ".join([*found.payload][:10])
            message = f"{flag.key!r} has no value {flag.value!r}; it has {there}"
            return failed(default, ErrorCode.FLAG_NOT_FOUND, message, about)
        value = found[flag.value]
    fit = _fit(kind, value)
    if fit is _WRONG:
        message = f"{kind.lower()} is asked for, and it is {type(value).__name__}"
        return failed(default, ErrorCode.TYPE_MISMATCH, message, about)
    return FlagResolutionDetails(
        fit, reason=reason, variant=variant, flag_metadata=about
    )


def failed(
    default: T, code: ErrorCode, message: str, about: Mapping[str, str] | None = None
) -> FlagResolutionDetails[T]:
    """Return the default, with an error."""
    return FlagResolutionDetails(
        default,
        error_code=code,
        error_message=message,
        reason=Reason.ERROR,
        flag_metadata=about or {},
    )


def _metadata(found: Experience) -> dict[str, str]:
    about = {"source": str(found.source)}
    if found.reason is not None:
        about["moe.reason"] = str(found.reason)
    if (audience := found.audience) is not None:
        about["audience"] = audience
    return about


# --- the types of values ----------------------------------------------------------


def _fit(kind: FlagType, value: Any) -> Any:
    """Return a payload value as the type that is asked for, or ``_WRONG``."""
    # Python counts a boolean as an integer.
    if isinstance(value, bool) or kind is FlagType.BOOLEAN:
        return value if isinstance(value, bool) and kind is FlagType.BOOLEAN else _WRONG
    if kind is FlagType.INTEGER and isinstance(value, float) and value.is_integer():
        return int(value)  # nothing is lost
    if kind is FlagType.FLOAT and isinstance(value, int):
        return float(value)
    if isinstance(value, Mapping):
        value = {**value}
    return value if isinstance(value, _TYPES[kind]) else _WRONG


_TYPES: Mapping[FlagType, tuple[type, ...]] = {
    FlagType.STRING: (str,),
    FlagType.INTEGER: (int,),
    FlagType.FLOAT: (float,),
    FlagType.OBJECT: (dict, list),
}
