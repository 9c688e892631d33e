"""Reads HTML forms without another dependency."""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request

from ..protocol.bodies import read_body

MAX_FORM = 16 * 1024
"""The largest form, in bytes: ours have a dozen short fields."""


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form.

    Raises:
        HTTPException: The form is too large.
    """
    body = await read_body(request.receive, MAX_FORM)
    if body is None:
        raise HTTPException(413, "The form is too large.")
    return dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
