"""The address of one call. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class URL:
    """An ``http://`` or ``https://`` address, taken apart once.

    Attributes:
        text: The whole of it.
        scheme: ``http`` or ``https``.
        host: A name or an IP address, without brackets.
        port: The port.
        authority: What the Host header says.
        target: The path and query, as a request's first line has them.
    """

    text: str
    scheme: str
    host: str
    port: int
    authority: bytes
    target: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return an address of visible ASCII characters.

        Raises:
            ValueError: It is none.
        """
        parts = urlsplit(text)
        usual = _PORTS.get(parts.scheme)
        if usual is None or not parts.hostname:
            raise ValueError(f"{text!r} is no http:// or https:// address")
        host, port = parts.hostname, parts.port or usual
        name = f"[{host}]" if ":" in host else host
        authority = name if port == usual else f"{name}:{port}"
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(
            text,
            parts.scheme,
            host,
            port,
            authority.encode("ascii"),
            target.encode("ascii"),
        )
