"""The URL of a call, parsed. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class URL:
    """A parsed ``http://`` or ``https://`` URL.

    Attributes:
        text: The whole URL.
        scheme: ``http`` or ``https``.
        host: A name or an IP address, without brackets.
        port: The port.
        authority: The value of the Host header.
        target: The path and query, as in the request line.
    """

    text: str
    scheme: str
    host: str
    port: int
    authority: bytes
    target: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the URL of a text.

        Raises:
            ValueError: The text is no http or https URL of visible ASCII characters.
        """
        parts = urlsplit(text)
        usual = _PORTS.get(parts.scheme)
        if usual is None or not parts.hostname:
            raise ValueError(f"{text!r} is no http:// or https:// address")
        host, port = parts.hostname, parts.port or usual
        # An IPv6 address lost its brackets in ``hostname``.
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
