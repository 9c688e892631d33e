"""The sections on visitors: ``identity``, ``bots`` and ``consent``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from .source_names import source_name
from .validation import Mistake, Section
from .value_sources import ValueSource
from .value_types import (
    MAX_COOKIE_AGE,
    CookieAge,
    CookieName,
    Flag,
    Name,
    Switch,
    Unique,
    UserAgentPart,
)

WEB_SDK_COOKIE = "moe_uuid"
"""The first-party cookie of MoEngage's Web SDK."""


class IdentitySettings(Section):
    """Who a visitor is: where the ids come from."""

    customer_id: ValueSource | None = Field(
        default=None, description="The brand's own id of a known customer."
    )
    visitor_id: ValueSource = Field(
        default=ValueSource.model_construct(cookie=WEB_SDK_COOKIE),
        description="The id of an anonymous browser; the default is the cookie of "
        "MoEngage's Web SDK.",
    )
    user_identifiers: dict[Name, ValueSource] = Field(
        default_factory=dict,
        max_length=5,
        description="Further identifiers, as u_em and u_mb, for Identity Resolution.",
    )
    anonymous_as: Literal["visitor_id", "customer_id"] = Field(
        default="visitor_id",
        description="The name of an anonymous visitor's id in a fetch. The newest "
        "documents know customer_id alone; with it every anonymous visitor may become "
        "a profile.",
    )
    anonymous: Switch = Field(
        default="on",
        description="Whether an anonymous visitor without a visitor_id gets a cookie "
        "of ours.",
    )
    anonymous_cookie: CookieName = Field(
        default="moe_visitor", description="The name of our cookie."
    )
    anonymous_max_age: CookieAge = Field(
        default=MAX_COOKIE_AGE,
        description="How long browsers keep our cookie, in seconds; at most 400 days.",
    )

    @classmethod
    def cross_checked(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        name = given.get("anonymous_cookie")
        if not isinstance(name, str):
            return
        taken = {
            "moe_device": "keeps the Web SDK's device id",
            "moe_preview": "keeps an open preview",
        }
        sources = {"visitor_id": {"cookie": WEB_SDK_COOKIE}, **given}
        for other in ("visitor_id", "customer_id"):
            if (cookie := source_name(sources.get(other), "cookie")) is not None:
                taken[cookie] = f"is where {other} comes from"
        if name in taken:
            about = f"the cookie {name!r} {taken[name]}: take another name"
            yield Mistake(("anonymous_cookie",), about)


class BotSettings(Section):
    """Who counts as a bot, by parts of the User-Agent, beside the built-in list."""

    also: tuple[UserAgentPart, ...] = Field(
        default=(), description="Parts of the User-Agent that make a visitor a bot."
    )
    never: tuple[UserAgentPart, ...] = Field(
        default=(),
        description="Parts of the User-Agent that make a visitor no bot, whatever else "
        "it contains.",
    )
    library: Switch = Field(
        default="off",
        description="Whether the patterns of the package crawler-user-agents count, "
        "too: pip install 'moe_middleware[bots]'.",
    )
    personalize: Switch = Field(
        default="off",
        description="Whether bots get experiences too; their views never count.",
    )


class ConsentSettings(Section):
    """Who consents to be recognised and counted; without the section, everyone."""

    given_by: ValueSource | None = Field(
        default=None,
        description="Where a visitor's consent is read from; left out, everyone "
        "consents who does not object.",
    )
    values: Annotated[tuple[Name, ...], Unique] = Field(
        default=("yes", "true", "granted", "1"),
        min_length=1,
        description="Which values of given_by are a consent, in upper or lower case.",
    )
    without: Literal["fallback", "anonymous"] = Field(
        default="fallback",
        description="Which pages visitors without consent get: those with the fallback,"
        " or with the answer to a fetch without any data about them (anonymous).",
    )
    honour_gpc: Flag = Field(
        default=True,
        description="Whether Global Privacy Control (Sec-GPC: 1) is an objection.",
    )
    honour_dnt: Flag = Field(
        default=False, description="Whether Do Not Track (DNT: 1) is an objection."
    )
    honour_sdk_opt_out: Flag = Field(
        default=True,
        description="Whether the Web SDK's opt-out cookies, moe_dis and moe_dt_d, are "
        "an objection.",
    )

    @classmethod
    def cross_checked(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        if source_name(given.get("given_by"), "path") is not None:
            about = "a consent holds on every path: name a cookie, a header or a call"
            yield Mistake(("given_by", "path"), about)
        if "values" in given and "given_by" not in given:
            about = "values of what? say in given_by where the consent stands"
            yield Mistake(("values",), about)
