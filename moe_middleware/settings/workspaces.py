"""The section ``workspace``: whose API is called, where, and with which keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr

from .data_centers import address_of
from .trimming import trimmed
from .validation import Mistake, Section, value_in
from .value_types import BaseURL, DataCenter, Secret, Switch, WorkspaceId

FLAT_HAS_NO_IDENTIFIERS = (
    "the dialect 'flat' has no place for user_identifiers, they would not be sent: "
    "take the dialect 'identifiers' or 'both'"
)

_CREDENTIALS = ("id", "api_key", "api_keys")


class Workspace(Section):
    """The MoEngage workspace, and how to reach it."""

    id: WorkspaceId = Field(
        description="The workspace id, as the dashboard shows it (or MOE_WORKSPACE_ID)."
    )
    api_key: Secret | None = Field(
        default=None,
        description="The key of the dashboard's Personalize tile (or MOE_API_KEY).",
    )
    api_keys: (
        Annotated[tuple[Secret, ...], Field(min_length=1, max_length=2)] | None
    ) = Field(
        default=None,
        description="Instead of api_key: the new and the old key while a key "
        "rotates. Where one is refused, the other is tried.",
    )
    data_center: DataCenter = Field(
        default="01",
        description="The data center, in quotes, or 'sandbox' for the embedded one: "
        "no network, no server (or MOE_DATA_CENTER).",
    )
    base_url: BaseURL | None = Field(
        default=None,
        description="Another server that speaks the API, as in "
        "http://127.0.0.1:8787/v1 (or MOE_BASE_URL).",
    )
    pages: Switch = Field(
        default="off",
        description="Whether the embedded sandbox's pages are shown below clicks.path, "
        "at /_moe/sandbox/, for development. Another data center has none.",
    )
    dialect: Literal["identifiers", "flat", "both"] = Field(
        default="both",
        description="How ids travel in a fetch: within 'identifiers', as in the "
        "newest documents, 'flat' as in the older ones, or both.",
    )

    @property
    def embedded(self) -> bool:
        """Whether the embedded sandbox answers: no network, no server."""
        return self.data_center == "sandbox" and self.base_url is None

    @property
    def url(self) -> str:
        """The API's address, without a slash at its end."""
        if self.base_url is not None:
            return self.base_url
        if self.data_center == "sandbox":
            # A reserved name: a request that is sent there by mistake arrives nowhere.
            return "http://sandbox.invalid/v1"
        return address_of(self.data_center)

    @property
    def keys(self) -> tuple[SecretStr, ...]:
        """The API keys, one or two, the newest first."""
        return self.api_keys or ((self.api_key,) if self.api_key else ())

    @classmethod
    def prepared(cls, given: dict[str, Any]) -> dict[str, Any]:
        named = given.get("data_center")
        if not isinstance(named, str) or trimmed(named) != "sandbox":
            return given
        if given.get("base_url") is None:
            # The embedded sandbox has its own credentials; others would be refused.
            given = {name: given[name] for name in given if name not in _CREDENTIALS}
        given.setdefault("id", "sandbox")
        if "api_keys" not in given:
            given.setdefault("api_key", "sandbox-key")
        return given

    @classmethod
    def cross_checked(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        if "api_key" in given and "api_keys" in given:
            yield Mistake(("api_keys",), "api_key is given too: keep one of the two")
        if "api_key" not in given and "api_keys" not in given:
            about = cls.model_fields["api_key"].description or ""
            yield Mistake(("api_key",), f"missing: t{about[1:].rstrip('.')}")


def unsent_identifiers(settings: Mapping[str, Any]) -> Iterator[Mistake]:
    """Yield a mistake for user identifiers that the dialect cannot send."""
    flat = value_in(settings.get("workspace"), "dialect") == "flat"
    if flat and value_in(settings.get("identity"), "user_identifiers"):
        yield Mistake(("identity", "user_identifiers"), FLAT_HAS_NO_IDENTIFIERS)


def data_center_in(tree: Mapping[str, Any]) -> object:
    """Return the data center in an unvalidated document."""
    named = value_in(tree.get("workspace"), "data_center")
    return trimmed(named) if isinstance(named, str) else named
