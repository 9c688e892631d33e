"""The visitor's answer to the question whether the shop may remember them."""

from __future__ import annotations

from starlette.requests import Request

COOKIE = "consent"
ANSWERS = ("yes", "no")
OBJECTS = "objects"


def answer(request: Request) -> str:
    """Return ``yes``, ``no``, ``objects``, or empty while the question is open."""
    # A browser with Global Privacy Control objects for every site.
    if request.headers.get("sec-gpc") == "1":
        return OBJECTS
    given = request.cookies.get(COOKIE, "")
    return given if given in ANSWERS else ""
