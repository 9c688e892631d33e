"""Reading HTML forms, in a few lines instead of another dependency."""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request

MAX_FORM = 16 * 1024
"""Our forms have a dozen short fields."""


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form of this site.

    Raises:
        HTTPException: It comes from another site, or is much too large.
    """
    # Any page in the same browser could send a form to localhost.
    if request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        raise HTTPException(403, "This form belongs to another site.")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_FORM:
            raise HTTPException(413, "The form is too large.")
    return dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
