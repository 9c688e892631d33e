"""Flag keys, and the SDK's details of an experience. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from openfeature.exception import ErrorCode, OpenFeatureError
from openfeature.flag_evaluation import FlagResolutionDetails, FlagType, Reason

from ..models.experience import Experience
from ..models.reasons import Reason as OurReason
from ..models.reasons import Source
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

    Args:
        flag: The flag.
        found: The visitor's experience.
        kind: The type that is asked for.
        default: The app's default.
        is_known: Whether the workspace has the experience, as far as is known.
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
    fit = _FITS[kind](value)
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


def refused(default: T, error: OpenFeatureError) -> FlagResolutionDetails[T]:
    """Return the default for an error of the SDK's."""
    return failed(default, error.error_code, error.error_message or "")


def _metadata(found: Experience) -> dict[str, str]:
    about = {"source": str(found.source)}
    if found.reason is not None:
        about["moe.reason"] = str(found.reason)
    if (audience := found.audience) is not None:
        about["audience"] = audience
    return about


def is_failure(found: Experience) -> bool:
    """Whether there is no answer for the visitor because something failed."""
    return not found and found.source is Source.FALLBACK


# --- the types of values ----------------------------------------------------------


def _boolean(value: Any) -> Any:
    return value if isinstance(value, bool) else _WRONG


def _string(value: Any) -> Any:
    return value if isinstance(value, str) else _WRONG


def _integer(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)  # nothing is lost
    return value if isinstance(value, int) and not isinstance(value, bool) else _WRONG


def _float(value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else _WRONG


def _object(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {**value}
    return value if isinstance(value, list) else _WRONG


_FITS: Mapping[FlagType, Callable[[Any], Any]] = {
    FlagType.BOOLEAN: _boolean,
    FlagType.STRING: _string,
    FlagType.INTEGER: _integer,
    FlagType.FLOAT: _float,
    FlagType.OBJECT: _object,
}
