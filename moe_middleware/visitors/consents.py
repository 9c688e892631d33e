"""Whether a visitor may be recognised and counted. Pure: no I/O of its own."""

from __future__ import annotations

from ..models.visits import Visit
from ..settings.visitor_sections import ConsentSettings
from .value_readers import SourceReader

OPT_OUT_COOKIES = ("moe_dis", "moe_dt_d")
"""What the Web SDK sets where it, or its tracking, was switched off."""

_NOT_SET = frozenset({"", "0", "false", "null", "undefined"})


class Consents:
    """Reads a visitor's consent from a request.

    An objection wins over a consent: whoever says both is not recognised. What cannot
    be read, as where a function fails, is no consent.

    Args:
        wanted: The settings' section.
        reader: Reads their source.

    Attributes:
        anonymous: Whether who does not consent gets what a fetch brings that tells
            nothing of them; else it is the fallback.
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
        """The browsers' own request headers that it looks at."""
        return tuple(_SIGNAL_NAMES[name] for name in self._signals)

    def given(self, visit: Visit) -> bool:
        """Whether the visitor consents.

        Raises:
            MustWaitError: To learn it takes waiting.
        """
        if self.objects(visit):
            return False
        if self._read is None:
            return True
        value = self._read(visit, visit.path_params)
        return value is not None and value.strip().casefold() in self._values

    def objects(self, visit: Visit) -> bool:
        """Whether the browser says that its user does not want this."""
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
