"""The visitor whom somebody describes in a form, as a fetch would bring it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ...json_texts import JSONTextError, parse_json
from ..bodies import MAX_DEPTH
from ..visitors import DAY, HOUR, IP_ADDRESS, USER_AGENT

DEVICES = {
    "desktop": "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "mobile": "Mozilla/5.0 (Android 16; Mobile; rv:145.0) Gecko/145.0 Firefox/145.0",
    "tablet": "Mozilla/5.0 (Android 16; Tablet; rv:145.0) Gecko/145.0 Firefox/145.0",
}
"""A User-Agent for each type of device."""


class FormError(ValueError):
    """What was typed makes no sense; the text says why, in words for the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was filled in, each field as its text."""

    customer_id: str = ""
    visitor_id: str = ""
    identifiers: str = ""
    attributes: str = ""
    hour: str = ""
    day: str = ""
    ip: str = ""
    device: str = ""
    user_agent: str = ""
    session: str = ""
    experience: str = ""

    @property
    def changed(self) -> bool:
        """Whether anything says who the visitor is or how the visit is."""
        return any(getattr(self, one.name) for one in fields(self)[:-1])

    @property
    def detailed(self) -> bool:
        """Whether more is said than who the customer is."""
        return any(getattr(self, one.name) for one in fields(self)[1:])

    def fetch_document(self) -> dict[str, Any]:
        """Return the body of the fetch that says all this.

        Raises:
            FormError: A line is not ``name=value``.
        """
        identifiers: dict[str, Any] = {}
        if self.customer_id:
            identifiers["customer_id"] = self.customer_id
        if found := read_lines(self.identifiers.replace(",", "\n")):
            identifiers["user_identifiers"] = {k: str(v) for k, v in found.items()}
        said = {
            "identifiers": identifiers,
            "visitor_id": self.visitor_id,
            "experience_key": [self.experience] if self.experience else [],
            HOUR: self.hour,
            DAY: self.day,
            IP_ADDRESS: self.ip,
            USER_AGENT: self.user_agent or DEVICES.get(self.device, ""),
        }
        session: dict[str, Any] = dict(read_pairs(self.session))
        return session | {name: value for name, value in said.items() if value}

    def attributes_given(self) -> dict[str, Any]:
        """Return the attributes to pretend.

        Raises:
            FormError: A line is not ``name=value``.
        """
        return read_lines(self.attributes)


def read_asked(query: Mapping[str, str]) -> Asked:
    """Return what a form's query says; what it does not know of is left out."""
    names = {one.name for one in fields(Asked)}
    return Asked(**{k: v.strip() for k, v in query.items() if k in names})


def read_pairs(text: str) -> dict[str, str]:
    """Return what lines of ``name=value`` say, as text.

    Raises:
        FormError: A line has no ``=``, or nothing before it.
    """
    pairs = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, sign, value = line.partition("=")
        if not sign or not name.strip():
            raise FormError(f"“{line}” is not of the form name=value.")
        pairs[name.strip()] = value.strip()
    return pairs


def read_lines(text: str) -> dict[str, Any]:
    """Return what lines of ``name=value`` say, with JSON values read as such.

    Raises:
        FormError: A line has no ``=``, or nothing before it.
    """
    return {name: _read_value(value) for name, value in read_pairs(text).items()}


def _read_value(text: str) -> Any:
    try:
        return parse_json(text, max_depth=MAX_DEPTH)
    except JSONTextError:
        return text
