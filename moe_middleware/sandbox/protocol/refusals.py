"""The API's errors: one function per documented reason, one envelope for all."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any


class Refusal(Exception):
    """A call that the API refuses.

    Attributes:
        coded: Whether the envelope has an eight-letter code.
    """

    def __init__(
        self, status: int, title: str, description: str, *, coded: bool = False
    ) -> None:
        self.status = status
        self.title = title
        self.description = description
        self.coded = coded
        super().__init__(status, title, description)

    def envelope(self, letters: Callable[[], str]) -> dict[str, Any]:
        """Return the error in the API's JSON; ``letters`` makes its code."""
        document = {"title": self.title, "description": self.description}
        return document | {"code": letters()} if self.coded else document


def unknown_app(status: int) -> Refusal:
    """Return the refusal of a missing or unknown ``MOE-APPKEY``."""
    return Refusal(
        status,
        "Request Error",
        "No workspace found: send its id in the header MOE-APPKEY or MOE-DBNAME.",
    )


def wrong_credentials() -> Refusal:
    """Return the refusal of a wrong workspace id or key."""
    return Refusal(
        401,
        "Authentication required",
        "Invalid API_KEY used in Authentication Header",
    )


def empty_body() -> Refusal:
    """Return the refusal of an empty body."""
    return Refusal(400, "Empty request body", "A valid JSON document is required.")


def malformed_json(why: str) -> Refusal:
    """Return the refusal of a body that is no JSON in UTF-8."""
    return Refusal(400, "Malformed JSON", f"Could not decode the request body: {why}.")


def too_large(limit: int) -> Refusal:
    """Return the refusal of a body of more than ``limit`` bytes."""
    return Refusal(
        413, "Payload Too Large", f"The request body has more than {limit} bytes."
    )


def invalid_field(field: str, why: str) -> Refusal:
    """Return the refusal of one field."""
    return Refusal(400, "Invalid Field Value", f"{field} - {why}", coded=True)


def wrong_content_type() -> Refusal:
    """Return the refusal of a body without the Content-Type of JSON."""
    return plain_refusal(415, "Send the body as Content-Type: application/json.")


def wrong_method() -> Refusal:
    """Return the refusal of a method that the path does not support."""
    return plain_refusal(405, "The path takes other methods: see the header Allow.")


def plain_refusal(status: int, description: str) -> Refusal:
    """Return a refusal with the status's own name as its title."""
    # A fault may have any status, 599 too.
    try:
        return Refusal(status, HTTPStatus(status).phrase, description)
    except ValueError:
        return Refusal(status, f"Status {status}", description)


def over_limit(limit: int) -> Refusal:
    """Return the refusal of a fetch beyond the minute's limit."""
    return Refusal(
        429,
        "Too Many Requests",
        f"The workspace may fetch {limit} times a minute: wait for x-ratelimit-reset.",
    )
