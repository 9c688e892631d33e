"""Kinds of values in settings, each with its check. Pure: no I/O."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, WithJsonSchema

from .addresses import UNIX_SOCKET
from .mistakes import shown, suggestion
from .routes import check_path
from .targets import check_target

DATA_CENTERS = ("01", "02", "03", "04", "05", "06", "101", "sandbox")
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
_WORKSPACE_ID = re.compile(r"[!-9;-~]+")  # Basic credentials end it at a ':'


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
    """Read a boolean as YAML 1.2 does; text is one that a variable filled in."""
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


def _as_data_center(value: Any) -> str:
    # 03 without quotes is 3 to many a YAML reader.
    number = isinstance(value, int) and not isinstance(value, bool)
    text = f"{int(value):02d}" if number else value
    if isinstance(text, str) and text in DATA_CENTERS:
        return str(text)
    padded = text.zfill(2) if isinstance(text, str) and text.isdecimal() else ""
    if padded in DATA_CENTERS:
        raise ValueError(f"unknown data center {value!r}: did you mean {padded!r}?")
    raise ValueError(
        f"unknown data center {shown(value)}: use one of {', '.join(DATA_CENTERS)}"
    )


def _check_workspace_id(value: str) -> str:
    if not _WORKSPACE_ID.fullmatch(value):
        raise ValueError(
            "this is no workspace id: it has visible ASCII characters, and no ':'"
        )
    return value


def _check_secret(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().strip():
        raise ValueError("the key is empty: copy it from the dashboard")
    return value


def _check_base_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        raise ValueError(_NO_URL) from None
    if parts.username is not None or parts.password is not None:
        raise ValueError("a base_url holds no credentials: give id and api_key")
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine:
        raise ValueError(f"{value!r}: {_NO_URL}")
    visible = value.isascii() and value.isprintable() and " " not in value
    if parts.query or parts.fragment or not visible:
        raise ValueError(_NO_URL)
    return value.rstrip("/")


_NO_URL = "this is no base URL: write it as in http://127.0.0.1:8787/v1"


def _check_cookie_name(value: str) -> str:
    if not _COOKIE_NAME.fullmatch(value):
        raise ValueError(
            f"{value!r} is no cookie name: use letters, digits, '_' and '-'"
        )
    return value


def _check_host(value: str) -> str:
    host = value.lower()
    if not _HOST.fullmatch(host):
        raise ValueError(
            f"{value!r} is no host: write shop.example.com or *.example.com, "
            "without scheme, port and path"
        )
    return host


def _check_method(value: str) -> str:
    if value.upper() not in METHODS:
        raise ValueError(suggestion(value.upper(), METHODS, kind="method"))
    return value.upper()


def _check_network(value: str) -> str:
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


class StoreAddress(str):
    """Where something is kept: ``memory:``, a ``sqlite:///`` file or a ``redis://``.

    Its repr is without the password, so that settings can be shown.
    """

    def __repr__(self) -> str:
        return repr(self.shown)

    @property
    def shown(self) -> str:
        """The address as logs and errors may show it."""
        return _SECRETS.sub("", str(self))


_SECRETS = re.compile(r"(?<=//)[^/@]*@|\?.*")


def _check_store(value: str) -> StoreAddress:
    prefix, found, file = value.partition("sqlite:///")
    if value == "memory:" or (found and not prefix and file.strip("/")):
        return StoreAddress(value)
    if value.startswith(REDIS_SCHEMES):
        return _check_redis(value)
    raise ValueError(
        f"{StoreAddress(value)!r} is no place to keep things: write sqlite:///moe.db, "
        "sqlite:////var/lib/moe/moe.db, redis://host:6379/0 or memory:"
    )


def _check_redis(value: str) -> StoreAddress:
    try:
        parts = urlsplit(value)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        parts, port_is_fine = urlsplit(""), False
    database = parts.path.strip("/")
    if (
        parts.scheme not in ("redis", "rediss")
        or not (parts.hostname and port_is_fine)
        or (database and not database.isdecimal())
    ):
        raise ValueError(
            f"{StoreAddress(value)!r} is no Redis: write redis://host:6379/0, or "
            "rediss:// for TLS"
        )
    return StoreAddress(value)


REDIS_SCHEMES = ("redis://", "rediss://")


def check_prefix(value: str) -> str:
    """Return ``value`` if it is a plain path below the root, without a final slash.

    Raises:
        ValueError: It is not.
    """
    if not _PREFIX.fullmatch(value):
        raise ValueError(f"{value!r} is no path for our own answers: write it as /_moe")
    return value


_PREFIX = re.compile(r"(/[\w.~-]+)+")


def _check_secret_key(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _check_strength(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < SHORTEST_SECRET:
        raise ValueError(
            f"a secret key has {SHORTEST_SECRET} characters at least: make one with "
            "'python -c \"import secrets; print(secrets.token_urlsafe(32))\"'"
        )
    return value


SHORTEST_SECRET = 16
"""Characters of a secret_key."""


def _without_duplicates(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _like(pattern: str) -> WithJsonSchema:
    """Tell editors what text of a kind looks like; a variable may stand for it."""
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
DataCenter = Annotated[
    Literal["01", "02", "03", "04", "05", "06", "101", "sandbox"],
    BeforeValidator(_as_data_center),
    _one_of(*DATA_CENTERS, 1, 2, 3, 4, 5, 6, 101),
]
Name = Annotated[str, Field(min_length=1)]
Secret = Annotated[
    SecretStr,
    AfterValidator(_check_secret),
    WithJsonSchema({"type": ["string", "number"], "minLength": 1}),
]
SecretKeys = Annotated[
    tuple[Annotated[SecretStr, AfterValidator(_check_strength)], ...],
    Field(min_length=1, max_length=5),
    BeforeValidator(_check_secret_key),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
            ]
        }
    ),
]
WorkspaceId = Annotated[str, AfterValidator(_check_workspace_id)]
BaseURL = Annotated[str, AfterValidator(_check_base_url), _like("^https?://[^/?#@]")]
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
Store = Annotated[
    str, AfterValidator(_check_store), _like("^sqlite:///.|^rediss?://.|^memory:$")
]
Redis = Annotated[str, AfterValidator(_check_redis), _like("^rediss?://.")]
Target = Annotated[str, AfterValidator(check_target), _like(r"^[\w.]+:[\w.]+$")]
Count = Annotated[int, Field(ge=1)]
ExperienceKey = Annotated[str, Field(min_length=1, max_length=50)]
Unique = AfterValidator(_without_duplicates)
