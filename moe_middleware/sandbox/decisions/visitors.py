"""The visitor of a fetch, and the meaning of in-session attributes. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..workspace.rules import Device

DAY = "DAY_OF_THE_WEEK"
HOUR = "TIME_OF_THE_DAY"
IP_ADDRESS = "USER_IP_ADDRESS"
LOCALE = "locale"
USER_AGENT = "USER_AGENT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """The visitor of a fetch.

    Attributes:
        user_id: The id that the variation depends on: the customer's, else the
            visitor's, else empty.
        attributes: A known customer's profile; None for other visitors.
        session: The in-session attributes as they were sent.
    """

    user_id: str
    attributes: Mapping[str, Any] | None
    session: Mapping[str, Any]


# Tablets with Android leave out the word Mobile.
_TABLET = re.compile(r"iPad|Tablet|Kindle|Silk/|PlayBook|Android(?!.*Mobile)", re.I)
_MOBILE = re.compile(r"Mobi|iPhone|iPod|Android|Windows Phone|BlackBerry", re.I)


def device_of(user_agent: str | None) -> Device | None:
    """Return the device type of a User-Agent; None if it names none."""
    if not user_agent:
        return None
    if _TABLET.search(user_agent):
        return Device.TABLET
    return Device.MOBILE if _MOBILE.search(user_agent) else Device.DESKTOP


def locale_of(visitor: Visitor, locales: tuple[str, ...]) -> str | None:
    """Return the visitor's language, if it is available; else None.

    The in-session attribute ``locale`` comes before the customer's; ``pt-BR`` also
    finds ``pt``.
    """
    if not locales:
        return None
    for given in (visitor.session.get(LOCALE), (visitor.attributes or {}).get(LOCALE)):
        if isinstance(given, str) and given:
            return _nearest(given, locales)
    return None


def _nearest(given: str, locales: tuple[str, ...]) -> str | None:
    known = {locale.lower().replace("_", "-"): locale for locale in locales}
    wanted = given.lower().replace("_", "-")
    return known.get(wanted) or known.get(wanted.partition("-")[0])
