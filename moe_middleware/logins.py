"""Whether a response logs its visitor in or out, so that old answers can go. Pure."""

from __future__ import annotations

from urllib.parse import unquote

from .identity import usable_id
from .models import EMPTY
from .response_headers import Headers
from .sources import ValueSource
from .visits import Visit


class LoginWatch:
    """Sees by a customer_id's own source that a response changes it.

    A cookie changes with the response's Set-Cookie, a session where the handler writes
    into it. Of other sources a response tells nothing.

    Args:
        source: Where the customer_id comes from; None is nowhere.

    Attributes:
        reads_session: Whether ``before`` has to be read ahead of the handler.
    """

    def __init__(self, source: ValueSource | None) -> None:
        self._source = source
        self.reads_session = source is not None and source.kind == "session"
        by_cookie = source is not None and source.kind == "cookie"
        self._cookie = f"{source.name}=".encode() if source and by_cookie else None

    def before(self, visit: Visit) -> str | None:
        """Return whom the request is from, as far as this source tells at once."""
        read = self._source.read(visit, EMPTY) if self._source else None
        return usable_id(read) if isinstance(read, str) else None

    def may_change(self, headers: Headers) -> bool:
        """Whether it is worth a look: cheap, for every response."""
        return self.reads_session or self._set_cookie(headers) is not None

    def changed(
        self, visit: Visit, headers: Headers, before: str | None
    ) -> tuple[str, ...]:
        """Return the customers who left or came with a response.

        Args:
            visit: The request.
            headers: The response's.
            before: Whom the session was of before the handler; for sessions alone.
        """
        if self.reads_session:
            after = self.before(visit)
        elif (cookie := self._set_cookie(headers)) is not None:
            before = self.before(visit)
            after = usable_id(unquote(cookie.strip().strip('"')))
        else:
            return ()
        if before == after:
            return ()
        return tuple(one for one in (before, after) if one is not None)

    def _set_cookie(self, headers: Headers) -> str | None:
        if self._cookie is None:
            return None
        for name, value in headers:
            if value.startswith(self._cookie) and name.lower() == b"set-cookie":
                told = value[len(self._cookie) :].partition(b";")[0]
                return told.decode("latin-1")
        return None
