"""The sections of a settings file. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr

from ..models.experiences import Counting
from ..routes.path_syntax import check_path, path_parameters
from .store_addresses import StoreAddress
from .trimming import trimmed
from .validation import Mistake, Section
from .value_sources import ValueSource
from .value_types import (
    MAX_COOKIE_AGE,
    BaseURL,
    Budget,
    CookieAge,
    CookieName,
    Count,
    DataCenter,
    ExperienceKey,
    Flag,
    Host,
    Method,
    Name,
    Path,
    PositiveSeconds,
    Redis,
    Seconds,
    Secret,
    Store,
    Switch,
    TimezoneOffset,
    Unique,
    UserAgentPart,
    WorkspaceId,
    check_prefix,
)

RESERVED_ATTRIBUTES = frozenset(
    ("experience_key", "identifiers", "customer_id", "visitor_id", "user_id")
)
"""What a fetch already says at its top level (document: Fetch Experience)."""

OWN_ATTRIBUTES = ("DAY_OF_THE_WEEK", "TIME_OF_THE_DAY", "USER_IP_ADDRESS", "USER_AGENT")
"""The in-session attributes that every fetch has, without being configured."""

WEB_SDK_COOKIE = "moe_uuid"
"""The first-party cookie of MoEngage's Web SDK."""

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
            return "http://sandbox.invalid/v1"
        return f"https://sdk-{self.data_center}.moengage.com/v1"

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
            # The embedded one knows these alone; a real workspace's stay unused.
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
        description="What a fetch calls an anonymous visitor's id. The newest "
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
            if (cookie := _source_name(sources.get(other), "cookie")) is not None:
                taken[cookie] = f"is where {other} comes from"
        if name in taken:
            about = f"the cookie {name!r} {taken[name]}: take another name"
            yield Mistake(("anonymous_cookie",), about)


Prefetch = Literal["blocking", "concurrent"]

Vary = Annotated[tuple[Name, ...], Unique]


class Route(Section):
    """A path and the experiences that its pages want."""

    path: Path = Field(
        description="The path within the app, as in /products/{sku}, /{id:int} or "
        "/{rest:path}."
    )
    methods: Annotated[tuple[Method, ...], Unique] | None = Field(
        default=None,
        min_length=1,
        description="The HTTP methods; left out, all of them.",
    )
    exclude: Annotated[tuple[Path, ...], Unique] = Field(
        default=(),
        description="Paths that the route is not for, as in /static/{rest:path}.",
    )
    hosts: Annotated[tuple[Host, ...], Unique] | None = Field(
        default=None,
        min_length=1,
        description="The hosts, as shop.example.com or *.example.com; left out, all.",
    )
    experiences: Annotated[tuple[ExperienceKey, ...], Unique] = Field(
        min_length=1, description="The keys of the experiences to fetch."
    )
    attributes: dict[Name, ValueSource] = Field(
        default_factory=dict,
        description="In-session attributes of this route, beside those of every fetch.",
    )
    timeout: Budget | None = Field(
        default=None, description="The budget of these pages' fetch, in seconds."
    )
    prefetch: Prefetch | None = Field(
        default=None, description="Whether these pages wait before their handler."
    )
    vary: Vary | None = Field(
        default=None, description="What these pages' answers depend on: see cache.vary."
    )
    impression: Counting | None = Field(
        default=None,
        description="Whether impressions of these pages count with the response, as "
        "they do where it is left out, once they are visible on the screen, or where "
        "MoEngage's Web SDK says so: web_sdk.",
    )

    @classmethod
    def cross_checked(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        attributes = given.get("attributes")
        yield from reserved_names(attributes)
        path = given.get("path")
        if not isinstance(path, str) or not isinstance(attributes, Mapping):
            return
        try:
            known = sorted(path_parameters(check_path(path)))
        except ValueError:
            return  # the path's own mistake
        for name, source in attributes.items():
            wanted = _path_parameter(source)
            if wanted is not None and wanted not in known:
                yield Mistake(
                    ("attributes", name, "path"), _no_parameter(wanted, path, known)
                )


class FetchSettings(Section):
    """How experiences are fetched."""

    timeout: Budget = Field(
        default=0.3,
        description="The whole budget of one page, in seconds, retries included.",
    )
    prefetch: Prefetch = Field(
        default="blocking",
        description="Whether a page waits for its experiences before its handler, or "
        "where it first asks for them.",
    )
    tries: int = Field(
        default=3,
        ge=1,
        le=10,
        description="How often a fetch is sent at most, within it.",
    )
    payload_values: Literal["native", "text"] = Field(
        default="native",
        description="Whether payload values become numbers, booleans and JSON as "
        "their data_type says, or stay text.",
    )
    trust_env: Flag = Field(
        default=False,
        description="Whether HTTP_PROXY, HTTPS_PROXY and NO_PROXY are followed.",
    )
    max_connections: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=64, description="Calls under way at once, in one process."
    )
    warm_connections: Annotated[int, Field(ge=0, le=64)] = Field(
        default=2, description="Connections opened at the start, before any page asks."
    )
    assets: Switch = Field(
        default="off",
        description="Whether images, scripts, styles, fonts and media are fetched for, "
        "where a route with a parameter matches them.",
    )
    server_timing: Flag = Field(
        default=True,
        description="Whether mapped pages say in a Server-Timing header where their "
        "experiences came from and how long that took.",
    )


class CacheSettings(Section):
    """How long answers are kept."""

    ttl: Seconds = Field(
        default=60.0, description="How long an answer is fresh, in seconds."
    )
    stale: Seconds = Field(
        default=600.0,
        description="How long after that it is still served, while a fetch in the "
        "background refreshes it, in seconds.",
    )
    max_entries: Count = Field(
        default=1_000_000, description="How many answers one process keeps at most."
    )
    max_bytes: Count = Field(
        default=64 * 1024 * 1024,
        description="How much memory they may take in one process, in bytes.",
    )
    vary: Vary | None = Field(
        default=None,
        description="The in-session attributes whose values make another answer, "
        "beside the hour and the day; left out, all that the file names. "
        "USER_IP_ADDRESS and USER_AGENT count only where they are named here.",
    )
    redis: Redis | None = Field(
        default=None,
        description="A Redis or Valkey that shares answers between processes and "
        "hosts, as in redis://host:6379/0; rediss:// for TLS.",
    )
    redis_timeout: PositiveSeconds = Field(
        default=0.05, description="How long one answer of it is waited for, in seconds."
    )


class BudgetSettings(Section):
    """How many calls may be made, so that the workspace's limit is never met."""

    calls_per_minute: Count = Field(
        default=10_000,
        description="Fetches a minute; MoEngage's own limit for a workspace is 10,000 "
        "unless you agreed on another.",
    )
    store: Store = Field(
        default=StoreAddress("memory:"),
        description="Who shares it: memory: (this process alone), "
        "sqlite:///moe-budget.db (all processes of a host) or redis://host:6379/0 (all "
        "hosts).",
    )
    pace: Literal["burst", "smooth"] = Field(
        default="burst",
        description="burst: what the API says is left may be spent at once. smooth: "
        "calls are spread evenly over the minute, about 163 a second of 10,000.",
    )


class MetadataSettings(Section):
    """How the workspace's list of experiences is kept up to date."""

    interval: Seconds | None = Field(
        default=None,
        description="The pause between two looks, in seconds; 0 never looks, and every "
        "key is then asked for. Left out it is 300, and 0 with data_center sandbox.",
    )


class EventSettings(Section):
    """How impressions and clicks are kept and delivered."""

    outbox: Store = Field(
        default=StoreAddress("sqlite:///moe-outbox.db"),
        description="Where events wait: sqlite:///moe-outbox.db (relative to the "
        "current directory), sqlite:////var/lib/moe/outbox.db (absolute), "
        "redis://host:6379/0 (for several hosts), or memory: (lost with the process). "
        "Or MOE_OUTBOX.",
    )
    relay: Switch = Field(
        default="on",
        description="Whether server processes deliver; off where 'moe-middleware "
        "relay' does.",
    )
    synchronous: Literal["normal", "full"] = Field(
        default="normal",
        description="Of a SQLite outbox: normal survives every death of a process, "
        "full the machine's too.",
    )
    max_events: Count = Field(
        default=2_000_000, description="How many events may wait at most."
    )
    when_full: Literal["refuse", "drop_oldest"] = Field(
        default="refuse",
        description="Whether a full outbox refuses the newest event or drops the "
        "oldest; both are counted and logged.",
    )
    max_age: PositiveSeconds = Field(
        default=7 * 86_400.0,
        description="How long an event is tried, in seconds from when it happened; "
        "then it becomes a dead letter.",
    )
    parallel: Annotated[int, Field(ge=1, le=64)] = Field(
        default=4, description="Reports under way at once, in one relay."
    )
    platform: Literal["web", "android", "ios", "tv"] = Field(
        default="web", description="The platform that events report."
    )
    user_timezone_offset: TimezoneOffset | None = Field(
        default=None,
        description="The visitors' offset from UTC, in seconds; left out, not sent.",
    )
    interval: PositiveSeconds = Field(
        default=1.0, description="The pause between the relay's looks, in seconds."
    )
    shutdown_timeout: Seconds = Field(
        default=2.0,
        description="How long a stopping process still delivers, in seconds.",
    )
    lease: PositiveSeconds = Field(
        default=30.0,
        description="How long a claimed event is one relay's alone, in seconds.",
    )


class ClickSettings(Section):
    """How links count clicks."""

    path: Annotated[str, AfterValidator(check_prefix)] = Field(
        default="/_moe",
        description="Where this middleware answers by itself, below the wrapped app.",
    )
    hosts: Annotated[tuple[Host, ...], Unique] = Field(
        default=(),
        description="Other hosts that a counted link may lead to, as "
        "partner.example.com or *.example.com.",
    )
    max_age: PositiveSeconds = Field(
        default=30 * 86_400.0,
        description="How long a link counts, in seconds; then it only leads on.",
    )


class BotSettings(Section):
    """Who counts as a bot, by parts of the User-Agent, beside the built-in list."""

    also: tuple[UserAgentPart, ...] = Field(
        default=(), description="Parts that make it a bot."
    )
    never: tuple[UserAgentPart, ...] = Field(
        default=(), description="Parts that make it no bot."
    )
    library: Switch = Field(
        default="off",
        description="Whether the package crawler-user-agents tells further bots: pip "
        "install 'moe_middleware[bots]'.",
    )
    personalize: Switch = Field(
        default="off",
        description="Whether bots get experiences too; their views count in no case.",
    )


class ConsentSettings(Section):
    """Who consents to be recognised and counted; without the section, everyone."""

    given_by: ValueSource | None = Field(
        default=None,
        description="Where a visitor's consent stands; left out, everyone consents "
        "who does not object.",
    )
    values: Annotated[tuple[Name, ...], Unique] = Field(
        default=("yes", "true", "granted", "1"),
        min_length=1,
        description="Which of its values are a consent, in any case.",
    )
    without: Literal["fallback", "anonymous"] = Field(
        default="fallback",
        description="What others get: the fallback, or what a fetch brings that tells "
        "nothing of them.",
    )
    honour_gpc: Flag = Field(
        default=True,
        description="Whether Global Privacy Control (Sec-GPC: 1) is an objection.",
    )
    honour_dnt: Flag = Field(
        default=False, description="Whether Do Not Track (DNT: 1) is one."
    )
    honour_sdk_opt_out: Flag = Field(
        default=True,
        description="Whether the Web SDK's opt-out cookies, moe_dis and moe_dt_d, are.",
    )

    @classmethod
    def cross_checked(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        if _path_parameter(given.get("given_by")) is not None:
            about = "a consent holds on every path: name a cookie, a header or a call"
            yield Mistake(("given_by", "path"), about)
        if "values" in given and "given_by" not in given:
            about = "values of what? say in given_by where the consent stands"
            yield Mistake(("values",), about)


def reserved_names(attributes: Any) -> Iterator[Mistake]:
    """Yield the attributes whose names a fetch uses itself."""
    for name in attributes if isinstance(attributes, Mapping) else ():
        if name in RESERVED_ATTRIBUTES:
            yield Mistake(
                ("attributes", name),
                f"{name!r} is no attribute's name: a fetch has a meaning of its own "
                "for it, see 'identity' and 'routes'",
            )


def unsent_identifiers(settings: Mapping[str, Any]) -> Iterator[Mistake]:
    """Yield the mistake of identifiers that the dialect has no place for."""
    flat = _value_in(settings.get("workspace"), "dialect") == "flat"
    if flat and _value_in(settings.get("identity"), "user_identifiers"):
        yield Mistake(("identity", "user_identifiers"), FLAT_HAS_NO_IDENTIFIERS)


def _value_in(section: Any, key: str) -> Any:
    """Return a value of a section, checked or not yet."""
    if isinstance(section, Mapping):
        return section.get(key)
    return getattr(section, key, None)


def _path_parameter(source: Any) -> str | None:
    return _source_name(source, "path")


def _source_name(source: Any, kind: str) -> str | None:
    """Return the name of a source that is of this kind, checked or not yet."""
    name = _value_in(source, kind)
    return name if isinstance(name, str) else None


def _no_parameter(wanted: str, path: str, known: list[str]) -> str:
    message = f"the path {path!r} has no parameter {wanted!r}"
    near = get_close_matches(wanted, known, n=1)
    if near:
        return f"{message}: did you mean {near[0]!r}?"
    if known:
        return f"{message}: use one of {', '.join(known)}"
    return f"{message}: write one, as in {path.rstrip('/')}/{{{wanted}}}"
