"""Addresses of stores: memory, a SQLite file or a Redis. Pure: no I/O."""

from __future__ import annotations

import re
from typing import Any, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from .redis_addresses import REDIS_SCHEMES, redis_address
from .trimming import is_unfilled, trimmed
from .validation import shown

MEMORY = "memory:"
SQLITE_SCHEME = "sqlite:///"


class StoreAddress:
    """An address that never shows its password by accident.

    ``str``, ``repr``, formatting and JSON leave out the password, and a Redis's
    options, which may hold passwords too. ``get_secret_value()`` returns everything.
    """

    __slots__ = ("_whole",)
    _whole: str

    def __init__(self, address: str | StoreAddress) -> None:
        is_one = isinstance(address, StoreAddress)
        whole = address.get_secret_value() if is_one else address  # type: ignore[union-attr]
        object.__setattr__(self, "_whole", str(whole))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("an address does not change")

    def get_secret_value(self) -> str:
        """Return the whole address, to connect with."""
        return self._whole

    @property
    def shown(self) -> str:
        """The address without its password and options."""
        return _shown(self._whole)

    @property
    def is_memory(self) -> bool:
        """Whether it is this process's memory."""
        return self._whole == MEMORY

    @property
    def is_redis(self) -> bool:
        """Whether it is a Redis or a Valkey."""
        return self._whole.startswith(REDIS_SCHEMES)

    @property
    def file(self) -> str | None:
        """The path of the SQLite file; None for other stores."""
        if self._whole.startswith(SQLITE_SCHEME):
            return self._whole.removeprefix(SQLITE_SCHEME)
        return None

    def __str__(self) -> str:
        return self.shown

    def __repr__(self) -> str:
        return repr(self.shown)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, StoreAddress):
            return self._whole == other._whole
        return self._whole == other if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._whole)

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        return type(self), (self._whole,)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            check_store,
            serialization=core_schema.to_string_ser_schema(when_used="json"),
        )


def check_store(value: object) -> StoreAddress:
    """Return an address of memory, of a SQLite file or of a Redis.

    Raises:
        ValueError: It is not one; the text has the form to write instead.
    """
    address = _address(value)
    if address is None:
        return StoreAddress(value)  # type: ignore[arg-type]
    if address.startswith(REDIS_SCHEMES):
        return check_redis(address)
    if address == MEMORY:
        return StoreAddress(address)
    if address.startswith(SQLITE_SCHEME):
        fault = _file_fault(address.removeprefix(SQLITE_SCHEME))
        if fault is None:
            return StoreAddress(address)
        raise ValueError(f"{_refused(address)} {fault}")
    meant = _meant(address)
    fault = f"{_refused(address)} is no place to keep things"
    if meant is not None:
        raise ValueError(f"{fault}: write {meant}")
    raise ValueError(
        f"{fault}: write sqlite:///moe.db, sqlite:////var/lib/moe/moe.db, "
        "redis://host:6379/0 or memory:"
    )


def check_redis(value: object) -> StoreAddress:
    """Return the address of a Redis or a Valkey.

    Raises:
        ValueError: It is not one; the text has the form to write instead.
    """
    address = _address(value)
    if address is None:
        if not value.is_redis:  # type: ignore[attr-defined]
            raise ValueError(f"{value} is no Redis: write redis://host:6379/0")
        return StoreAddress(value)  # type: ignore[arg-type]
    try:
        redis_address(address)
    except ValueError as error:
        # A "?" that belongs to a password makes its beginning look like a host.
        if str(error) and "@" not in address.partition("?")[2]:
            raise
        meant = _meant(address)
        right = meant if meant and "redis" in meant else "redis://host:6379/0"
        secrets = ""
        if "@" in address or address.startswith(tuple(f"{s}:" for s in REDIS_SCHEMES)):
            secrets = ". A password's '/', '?', '#', '@' and '%' are percent-encoded"
        raise ValueError(
            f"{_refused(address)} is no Redis: write {right}, or rediss:// for "
            f"TLS{secrets}"
        ) from None
    return StoreAddress(address)


def _address(value: object) -> str | None:
    """Return an address's text, trimmed; None if it is a ``StoreAddress`` already."""
    if isinstance(value, StoreAddress):
        return None
    if not isinstance(value, str):
        raise ValueError(
            f"{shown(value)} is not text: write it as in redis://host:6379/0"
        )
    address = trimmed(value)
    if is_unfilled(address):
        raise ValueError("is a variable that nothing filled in: write ${NAME}")
    return address


def _shown(address: str) -> str:
    if not address.startswith(REDIS_SCHEMES):
        return address if _is_harmless(address) else _hidden(address)
    try:
        return redis_address(address).shown
    except ValueError:
        return _hidden(address)


def _refused(address: str) -> str:
    """Return an invalid address for a message, without a possible password."""
    return repr(address if _is_harmless(address) else _hidden(address))


def _hidden(address: str) -> str:
    scheme, found, _ = address.partition("://")
    return f"{scheme}://***" if found and scheme.isascii() else "***"


def _is_harmless(address: str) -> bool:
    """Whether a text cannot have a password in it."""
    if "@" in address:
        return False
    scheme, found, rest = address.partition("://")
    if address.lower().startswith(("sqlite", "file:")) or not found:
        return "?" not in address or "sqlite" in scheme.lower()
    ports = [one.partition(":")[2] for one in rest.split("/")[0].split(",")]
    return "?" not in rest and all(not port or port.isdecimal() for port in ports)


def _file_fault(file: str) -> str | None:
    if file in ("", ":memory:") or "mode=memory" in file:
        return "is SQLite's memory, of one connection alone: write memory:"
    if not file.isprintable():
        return "has a control character in its name"
    path = re.split(r"[?]", file.removeprefix("file:"))[0]
    if path != file:
        right = f"{SQLITE_SCHEME}{path}"
        return f"has options, which no file of ours has: write {right}"
    if file[0] == "~":
        return (
            "has a '~' that nothing fills in: write the whole path, with four slashes, "
            "as in sqlite:////var/lib/moe/moe.db, or sqlite:///${HOME}/moe.db"
        )
    if re.match(r"\$\w|%\w+%", file):
        return "has a variable that nothing filled in: write ${NAME}"
    if not file.strip("/") or re.search(r"(^|[/\\])(\.{1,2})?$", file):
        return "is a folder: name the file in it"
    return None


def _meant(address: str) -> str | None:
    """Return the valid address that was probably meant; None if there is none."""
    meant = _guess(address)
    if meant is None or meant == MEMORY:
        return meant
    if meant.startswith(REDIS_SCHEMES):
        return meant if _is_redis(meant) else None
    return meant if _file_fault(meant.removeprefix(SQLITE_SCHEME)) is None else None


def _is_redis(address: str) -> bool:
    try:
        redis_address(address)
    except ValueError:
        return False
    return True


def _guess(address: str) -> str | None:
    if re.fullmatch(r":?(in-?)?mem(ory)?:?/*", address, re.IGNORECASE):
        return MEMORY
    scheme, found, rest = address.partition(":")
    name = scheme.lower()
    if found and ("sqlite" in name or name == "file"):
        path = rest.split("?")[0]
        if path.lstrip("/") in ("", ":memory:"):
            return MEMORY
        slashes = len(path) - len(path.lstrip("/"))
        # sqlite:/abs and file:///abs are absolute; sqlite://moe.db is relative.
        is_absolute = slashes in (1, 4) or (name == "file" and slashes == 3)
        return f"{SQLITE_SCHEME}{'/' if is_absolute else ''}{path.lstrip('/')}"
    if "sentinel" in name or "cluster" in name:
        kind = "sentinel" if "sentinel" in name else "cluster"
        tls = "s" if re.search(r"rediss|valkeys|tls|ssl", name) else ""
        hosts = rest.removeprefix("//").replace(f";{scheme}://", ",")
        if not re.fullmatch(r"[\w.-]+(:\d+)?(,[\w.-]+(:\d+)?)*(/[\w./-]*)?", hosts):
            hosts = "host:26379/mymaster" if kind == "sentinel" else "host:6379"
        elif kind == "sentinel" and "/" not in hosts:
            hosts += "/mymaster"
        return f"redis{tls}+{kind}://{hosts}"
    if "redis" in name or "valkey" in name or name == "tcp":
        is_tls = name in ("rediss", "valkeys", "redis+tls", "redis+ssl")
        host = rest.removeprefix("//")
        plain = re.fullmatch(r"[\w.-]+(:\d+)?(/\d+)?", host)
        return f"{'rediss' if is_tls else 'redis'}://{host if plain else 'host:6379/0'}"
    if re.fullmatch(r"[\w.-]+:6379(/\d+)?", address):
        return f"redis://{address}"
    if re.fullmatch(r"[^:?@]+\.(db|sqlite3?)", address):
        return f"{SQLITE_SCHEME}{address}"
    return None
