"""The visitor of a form, as the body of a fetch. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from ...models.json_texts import JSONTextError, parse_json
from ..decisions.visitors import DAY, HOUR, IP_ADDRESS, USER_AGENT
from ..workspace.workspace import MAX_DEPTH

DEVICES = {
    "desktop": "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "mobile": "Mozilla/5.0 (Android 16; Mobile; rv:145.0) Gecko/145.0 Firefox/145.0",
    "tablet": "Mozilla/5.0 (Android 16; Tablet; rv:145.0) Gecko/145.0 Firefox/145.0",
}
"""A User-Agent for each type of device."""


class FormError(ValueError):
    """A field is malformed; the text has the reason, for the page.

    Attributes:
        field: The field's name.
    """

    def __init__(self, text: str, field: str = "") -> None:
        super().__init__(text)
        self.field = field


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitForm:
    """The fields of the form, as texts."""

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
        """Whether any field but the experience is filled in."""
        return any(getattr(self, one.name) for one in fields(self)[:-1])

    @property
    def detailed(self) -> bool:
        """Whether any field but the customer is filled in."""
        return any(getattr(self, one.name) for one in fields(self)[1:])

    def fetch_document(self) -> dict[str, Any]:
        """Return the body of the fetch with these fields.

        Raises:
            FormError: A line is not ``name=value``.
        """
        identifiers: dict[str, Any] = {}
        if self.customer_id:
            identifiers["customer_id"] = self.customer_id
        # Several identifiers fit in its one line.
        others = self.identifiers.replace(",", "\n")
        if found := read_lines(others, "identifiers"):
            identifiers["user_identifiers"] = {k: str(v) for k, v in found.items()}
        values = {
            "identifiers": identifiers,
            "visitor_id": self.visitor_id,
            "experience_key": [self.experience] if self.experience else [],
            HOUR: self.hour,
            DAY: self.day,
            IP_ADDRESS: self.ip,
            USER_AGENT: self.user_agent or DEVICES.get(self.device, ""),
        }
        session: dict[str, Any] = dict(read_pairs(self.session, "session"))
        return session | {name: value for name, value in values.items() if value}

    def attributes_given(self) -> dict[str, Any]:
        """Return the attributes that override the profile's.

        Raises:
            FormError: A line is not ``name=value``.
        """
        return read_lines(self.attributes, "attributes")


def read_visit_form(query: Iterable[tuple[str, str]]) -> VisitForm:
    """Return the fields of a query; unknown names are ignored.

    A repeated field, as in ``session=a=1&session=b=2``, has one line per value.
    """
    names = {one.name for one in fields(VisitForm)}
    found: dict[str, list[str]] = {}
    for name, value in query:
        if name in names:
            found.setdefault(name, []).append(value.strip())
    return VisitForm(**{name: "\n".join(values) for name, values in found.items()})


def read_pairs(text: str, field: str = "") -> dict[str, str]:
    """Return lines of ``name=value`` as a mapping of texts.

    Raises:
        FormError: A line has no ``=``, or nothing before it.
    """
    pairs = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, sign, value = line.partition("=")
        if not sign or not name.strip():
            raise FormError(f"“{line}” is not of the form name=value.", field)
        pairs[name.strip()] = value.strip()
    return pairs


def read_lines(text: str, field: str = "") -> dict[str, Any]:
    """Return lines of ``name=value`` as a mapping, with JSON values parsed.

    Raises:
        FormError: A line has no ``=``, or nothing before it.
    """
    return {name: _read_value(value) for name, value in read_pairs(text, field).items()}


def _read_value(text: str) -> Any:
    try:
        return parse_json(text, max_depth=MAX_DEPTH)
    except JSONTextError:
        return text
