"""Whether the shop may remember a visitor: what they, or their browser, say."""

from __future__ import annotations

from starlette.requests import Request

from moe_middleware import Visit

COOKIE = "consent"
ANSWERS = ("yes", "no")
OBJECTS = "objects"


def unless_refused(visit: Visit) -> str | None:
    """Return what ``consent.given_by`` in ``moe.yml`` wants to hear, or None.

    The demo takes silence for a yes, so that its first page shows what it can do.
    """
    return None if visit.cookie(COOKIE) == "no" else "yes"


def answer(request: Request) -> str:
    """Return what the page is to say: ``yes``, ``no``, ``objects``, or empty to ask.

    Who has Global Privacy Control switched on has answered for every site.
    """
    if request.headers.get("sec-gpc") == "1":
        return OBJECTS
    said = request.cookies.get(COOKIE, "")
    return said if said in ANSWERS else ""
