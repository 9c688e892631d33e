"""The types of values in settings, each with its check. Pure: no I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import IPv6Address, ip_network
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    WithJsonSchema,
)

from ..models.observers import Observer
from .credentials import check_api_key, check_secret_key, check_workspace_id
from .data_centers import (
    DATA_CENTERS,
    DataCenterName,
    check_base_url,
    check_data_center,
)
from .import_strings import OrObject, check_target
from .path_syntax import check_path
from .store_addresses import StoreAddress, check_redis
from .trimming import trimmed
from .validation import shown, suggestion

UNIX_SOCKET = "unix:"
"""The entry in ``trusted_proxies`` for a proxy on the same host's Unix socket."""

METHODS = (
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT",
    "QUERY",
)  # fmt: skip

MAX_COOKIE_AGE = 400 * 86_400.0
"""In seconds; browsers keep no cookie longer (RFC 6265bis, 5.5)."""

_COOKIE_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HOST = re.compile(
    r"(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*"
    r"|\[[0-9a-f:.]+\]"
)


def _no_flag(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"{shown(value)} is no number: give a whole one, as in 3")
    return value


NoFlag = BeforeValidator(_no_flag)
"""For whole numbers: as one, ``true`` would be 1."""


def _as_seconds(value: Any) -> float:
    wrong = f"{shown(value)} is not a duration: give seconds as a number, as in 0.3"
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(wrong)
    try:
        seconds = float(str(value)) if isinstance(value, str) else float(value)
    except (ValueError, OverflowError):
        raise ValueError(wrong) from None
    if not 0 <= seconds < float("inf"):
        raise ValueError(wrong)
    return seconds


def _as_flag(value: Any) -> Any:
    """Return a boolean; text comes from a variable and is read as in YAML 1.2."""
    if isinstance(value, str) and value in ("true", "True", "TRUE"):
        return True
    if isinstance(value, str) and value in ("false", "False", "FALSE"):
        return False
    if not isinstance(value, bool):
        raise ValueError(f"{shown(value)} is not a boolean: write true or false")
    return value


def _as_switch(value: Any) -> Any:
    if isinstance(value, bool):
        return "on" if value else "off"
    return value


def _check_cookie_name(value: str) -> str:
    value = trimmed(value)
    if not _COOKIE_NAME.fullmatch(value):
        raise ValueError(
            f"{value!r} is no cookie name: use letters, digits, '_' and '-'"
        )
    return value


def _check_host(value: str) -> str:
    host = value.lower()
    if _HOST.fullmatch(host) and not re.fullmatch(r"\d+", host):
        return _shortest(host)
    meant = _host_of(host)
    fault = f"{value!r} is no host: write"
    if meant and _HOST.fullmatch(meant):
        raise ValueError(f"{fault} {meant}, without scheme, port and path")
    raise ValueError(
        f"{fault} shop.example.com or *.example.com, without scheme, port and path; "
        "leave hosts out where all are meant"
    )


def _shortest(host: str) -> str:
    """Return an IPv6 address as browsers write it."""
    if not host.startswith("["):
        return host
    try:
        return f"[{IPv6Address(host[1:-1])}]"
    except ValueError:
        raise ValueError(f"{host!r} is no IPv6 address: write it as in [::1]") from None


def _host_of(text: str) -> str:
    """Return the host of a URL, of a host with a port, or of Django's ``.host``."""
    text = trimmed(text)
    text = re.sub(r"^[a-z][a-z0-9+.-]*://", "", text).rpartition("@")[2]
    if re.fullmatch(r"[0-9a-f:]*:[0-9a-f:]*:[0-9a-f:.]*", text):
        return f"[{text}]"
    text = re.split(r"[/?#]", text)[0]
    text = re.sub(r":(\d+|\*)?$", "", text).rstrip(".")
    text = re.sub(r"^(\*\*\.|\.|\*(?=[^.]))", "*.", text)
    if not text.isascii():
        try:
            return text.encode("idna").decode()
        except UnicodeError:
            return ""
    return text


def _check_method(value: str) -> str:
    method = trimmed(value).upper()
    if method in METHODS:
        return method
    if method in ("*", "ANY", "ALL"):
        raise ValueError(f"{value!r} is no method: leave methods out for all of them")
    if len(found := [one for one in re.split(r"[\s,|]+", method) if one]) > 1:
        raise ValueError(f"{value!r} is several: write them as [{', '.join(found)}]")
    raise ValueError(suggestion(method, METHODS, kind="method"))


def _check_network(value: str) -> str:
    value = trimmed(value)
    if value == "*":
        raise ValueError(
            "'*' would let anyone claim any address: list your proxies' networks, "
            "as in 10.0.0.0/8"
        )
    try:
        return value if value == UNIX_SOCKET else str(ip_network(value))
    except ValueError:
        pass
    try:
        near = ip_network(value, strict=False)
    except ValueError:
        raise ValueError(
            f"{value!r} is no network: write one as in 10.0.0.0/8 or 192.0.2.7"
        ) from None
    raise ValueError(f"{value!r} is an address in a network: did you mean '{near}'?")


def check_prefix(value: str) -> str:
    """Return ``value`` if it is a plain path below the root, without a final slash.

    Raises:
        ValueError: It is not.
    """
    if not _PREFIX.fullmatch(value) or re.search(r"/\.{1,2}(/|$)", value):
        raise ValueError(f"{value!r} is no path for our own answers: write it as /_moe")
    return value


_PREFIX = re.compile(r"(/[\w.~-]+)+")


def _as_keys(value: Any) -> Any:
    """Accept one key as a list of one; YAML reads a key of digits as a number."""
    one = isinstance(value, str | int | float | SecretStr)
    return (value,) if one and not isinstance(value, bool) else value


def _check_offset(value: int) -> int:
    if value % 900:
        raise ValueError(
            f"{value!r} is no offset from UTC: give seconds, as in 19800 for UTC+5:30"
        )
    return value


def _check_name(value: str) -> str:
    if value != trimmed(value):
        raise ValueError(f"{value!r} has blanks around it: write {trimmed(value)!r}")
    if not value.isprintable():
        raise ValueError(f"{value!r} has a control character: remove it")
    return value


def _check_pattern(value: str) -> str:
    if found := re.search(r"[*^$\\]|\.\+", value):
        raise ValueError(
            f"{value!r} is looked for as it is, {found[0]!r} included: write a part of "
            "the User-Agent, as in curl/"
        )
    return value


def _may_observe(value: object) -> bool:
    """Whether a value is an observer, or a callable that makes one."""
    if isinstance(value, Observer) or callable(value):
        return True
    if isinstance(value, str | int | float | list | Mapping):
        return False
    raise ValueError(
        f"{type(value).__name__} is no observer: give an object of a class that "
        "inherits from moe_middleware.Observer, that class, or the name of either"
    )


def _check_target(value: object) -> object:
    return check_target(value) if isinstance(value, str) else value


def _without_duplicates(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _like(pattern: str) -> WithJsonSchema:
    """Give editors the pattern of a kind of text, or of a variable in its place."""
    return WithJsonSchema({"type": "string", "pattern": rf"{pattern}|\$\{{"})


def _one_of(*options: Any) -> WithJsonSchema:
    variable = {"type": "string", "pattern": r"\$\{"}
    return WithJsonSchema({"anyOf": [{"enum": list(options)}, variable]})


Seconds = Annotated[float, Field(ge=0), BeforeValidator(_as_seconds)]
PositiveSeconds = Annotated[float, Field(gt=0), BeforeValidator(_as_seconds)]
Budget = Annotated[float, Field(gt=0, le=30), BeforeValidator(_as_seconds)]
CookieAge = Annotated[
    float, Field(gt=0, le=MAX_COOKIE_AGE), BeforeValidator(_as_seconds)
]
Flag = Annotated[bool, BeforeValidator(_as_flag)]
LogIds = Annotated[
    Literal["off", "sha256"],
    BeforeValidator(_as_switch),
    _one_of("off", False, "sha256"),
]
Switch = Annotated[
    Literal["on", "off"], BeforeValidator(_as_switch), _one_of("on", "off", True, False)
]
Overlay = Annotated[
    Literal["off", "link", "on"],
    BeforeValidator(_as_switch),
    _one_of("off", "link", "on", True, False),
]
DataCenter = Annotated[
    DataCenterName,
    BeforeValidator(check_data_center),
    _one_of(*DATA_CENTERS, *(int(name) for name in DATA_CENTERS if name.isdecimal())),
]
Name = Annotated[str, Field(min_length=1), AfterValidator(_check_name)]
UserAgentPart = Annotated[str, Field(min_length=1), AfterValidator(_check_pattern)]
Secret = Annotated[
    SecretStr,
    AfterValidator(check_api_key),
    WithJsonSchema({"type": ["string", "number"], "minLength": 1}),
]
SecretKeys = Annotated[
    tuple[Annotated[SecretStr, AfterValidator(check_secret_key)], ...],
    Field(min_length=1, max_length=5),
    BeforeValidator(_as_keys),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": ["string", "number"], "minLength": 1},
                {
                    "type": "array",
                    "items": {"type": ["string", "number"]},
                    "minItems": 1,
                },
            ]
        }
    ),
]
WorkspaceId = Annotated[str, AfterValidator(check_workspace_id)]
BaseURL = Annotated[str, AfterValidator(check_base_url), _like("^https?://[^/?#@]")]
CookieName = Annotated[
    str, AfterValidator(_check_cookie_name), _like(f"^{_COOKIE_NAME.pattern}$")
]
Path = Annotated[str, AfterValidator(check_path), _like("^/")]
Method = Annotated[
    str,
    AfterValidator(_check_method),
    _one_of(*METHODS, *(method.lower() for method in METHODS)),
]
Host = Annotated[str, AfterValidator(_check_host), _like(r"^(\*\.)?[\w.-]+$|^\[")]
Network = Annotated[
    str, AfterValidator(_check_network), _like("^[0-9a-fA-F:.]+(/[0-9]+)?$|^unix:$")
]
Store = Annotated[StoreAddress, _like("^sqlite:///.|^rediss?://.|^memory:$")]
Redis = Annotated[
    StoreAddress,
    PlainValidator(check_redis),
    PlainSerializer(str, when_used="json"),
    _like("^rediss?://."),
]
ObserverGiven = Annotated[
    str | Observer | Callable[[], Observer],
    OrObject(_may_observe),
    AfterValidator(_check_target),
    _like(r"^[\w.]+:[\w.]+$"),
]
TimezoneOffset = Annotated[
    int, Field(ge=-54_000, le=54_000), AfterValidator(_check_offset), NoFlag
]
Count = Annotated[int, Field(ge=1), NoFlag]
ExperienceKey = Annotated[
    str, Field(min_length=1, max_length=50), AfterValidator(_check_name)
]
Unique = AfterValidator(_without_duplicates)
