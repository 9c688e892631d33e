"""Detects responses that log a visitor in or out, to drop cached answers. Pure."""

from __future__ import annotations

import re
from contextlib import suppress

from ..models.texts import Headers
from ..models.usable_ids import usable_id
from ..models.visits import Visit
from ..settings.value_sources import ValueSource
from ..visitors.value_readers import id_at_once


class LoginWatch:
    """Detects by the customer_id's source that a response changes it.

    A cookie changes by the response's Set-Cookie, a session when the handler writes to
    it. For other sources a response shows nothing.

    Args:
        source: The source of the customer_id; None for none.

    Attributes:
        reads_session: Whether ``by_session`` must be read before the handler runs.
    """

    def __init__(self, source: ValueSource | None) -> None:
        self._source = source
        self.reads_session = source is not None and source.kind == "session"
        by_cookie = source is not None and source.kind == "cookie"
        self._cookie = f"{source.name}=".encode() if source and by_cookie else None

    def before(self, visit: Visit) -> str | None:
        """Return the customer of the request, if this source gives it at once."""
        return id_at_once(self._source, visit) if self._source else None

    def by_session(self, visit: Visit) -> str | None:
        """The same, but None if the session gives no id.

        Pages log that where they need the value.
        """
        with suppress(Exception):
            return self.before(visit)
        return None

    def may_change(self, headers: Headers) -> bool:
        """Whether a response may change it: a fast check for every response."""
        cookie = self._cookie
        if cookie is not None:
            for name, value in headers:
                if name.lower() == b"set-cookie" and value.startswith(cookie):
                    return True
        # A session may have changed without any header of its own.
        return self.reads_session

    def changed(
        self, visit: Visit, headers: Headers, before: str | None
    ) -> tuple[str, ...]:
        """Return the customers that logged out or in with a response.

        Args:
            visit: The request.
            headers: The response's headers.
            before: The session's customer before the handler; for sessions only.
        """
        if self.reads_session:
            after = self.by_session(visit)
        elif (cookie := self._set_cookie(headers)) is not None:
            before = self.before(visit)
            after = self._after(visit, cookie)
        else:
            return ()
        if before == after:
            return ()
        return tuple(one for one in (before, after) if one is not None)

    def _set_cookie(self, headers: Headers) -> bytes | None:
        """Return the response's last Set-Cookie for the customer_id, which counts."""
        if self._cookie is None:
            return None
        found = None
        for name, value in headers:
            if value.startswith(self._cookie) and name.lower() == b"set-cookie":
                found = value
        return found

    def _after(self, visit: Visit, set_cookie: bytes) -> str | None:
        """Return the customer of the next request, by its cookie."""
        if _EXPIRED.search(set_cookie):
            return None
        pair = set_cookie.partition(b";")[0]
        return usable_id(*visit.read_cookies((pair,)).values())


_EXPIRED = re.compile(rb";\s*(?:max-age\s*=\s*(?:0|-)|expires\s*=[^;]*\b1970\b)", re.I)
