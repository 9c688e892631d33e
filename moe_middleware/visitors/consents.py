"""Decides whether a visitor may be recognised and counted. Pure: no I/O of its own."""

from __future__ import annotations

from ..models.visits import Visit
from ..settings.visitor_sections import ConsentSettings
from .value_readers import SourceReader

OPT_OUT_COOKIES = ("moe_dis", "moe_dt_d")
"""The Web SDK's cookies when it, or its tracking, was switched off."""

_NOT_SET = frozenset({"", "0", "false", "null", "undefined"})


class Consents:
    """Reads a visitor's consent from a request.

    An objection has precedence over a consent. A consent that cannot be read, as when a
    function fails, counts as none.

    Args:
        wanted: The settings ``consent``.
        reader: Reads its source.

    Attributes:
        anonymous: Whether visitors without consent get the answer to a fetch without
            any data about them; else they get the fallback.
    """

    def __init__(
        self, wanted: ConsentSettings, reader: SourceReader | None = None
    ) -> None:
        self.anonymous = wanted.without == "anonymous"
        source = wanted.given_by
        self._read = (reader or SourceReader()).text(source) if source else None
        self._values = frozenset(value.casefold() for value in wanted.values)
        self._signals = [
            name
            for name, honoured in (
                ("sec-gpc", wanted.honour_gpc),
                ("dnt", wanted.honour_dnt),
            )
            if honoured
        ]
        self._cookies = OPT_OUT_COOKIES if wanted.honour_sdk_opt_out else ()

    @property
    def signals(self) -> tuple[str, ...]:
        """The browsers' request headers that it reads."""
        return tuple(_SIGNAL_NAMES[name] for name in self._signals)

    def given(self, visit: Visit) -> bool:
        """Whether the visitor consents.

        Raises:
            MustWaitError: Reading the consent needs waiting.
        """
        if self.objects(visit):
            return False
        if self._read is None:
            return True
        value = self._read(visit, visit.path_params)
        return value is not None and value.strip().casefold() in self._values

    def objects(self, visit: Visit) -> bool:
        """Whether the browser's headers or cookies are an objection."""
        for name in self._signals:
            if visit.header(name) is not None and "1" in [
                value.strip() for value in visit.headers(name)
            ]:
                return True
        for cookie in self._cookies:
            value = visit.cookie(cookie)
            if value is not None and value.casefold() not in _NOT_SET:
                return True
        return False


_SIGNAL_NAMES = {"sec-gpc": "Sec-GPC", "dnt": "DNT"}
