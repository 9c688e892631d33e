"""Small forms and safe ways back: what a browser sends is checked before it is used."""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request

MOST_FORM_BYTES = 2_000


async def read_form(request: Request) -> dict[str, str]:
    """Read an ordinary HTML form.

    Raises:
        HTTPException: 413 for a form larger than any of ours.
    """
    # Starlette's own reader wants python-multipart, for files that no form here sends.
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_FORM_BYTES:
            raise HTTPException(413)
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def same_site(target: object, otherwise: str = "/") -> str:
    """Return ``target`` if it is a path of this site, else ``otherwise``."""
    # Browsers drop tabs and line ends and read `\` as `/`: `/<tab>/evil.example` would
    # lead away as `//evil.example` does.
    if (
        isinstance(target, str)
        and target.startswith("/")
        and not target.startswith("//")
        and "\\" not in target
        and all(character > " " for character in target)
    ):
        return target
    return otherwise
