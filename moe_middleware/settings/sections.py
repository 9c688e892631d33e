"""The sections on fetches, the cache, the call budget, events and clicks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from ..models.events import Platform
from .store_addresses import StoreAddress
from .validation import Section
from .value_types import (
    Budget,
    Count,
    Flag,
    Host,
    Name,
    NoFlag,
    Overlay,
    PositiveSeconds,
    Redis,
    Seconds,
    Store,
    Switch,
    TimezoneOffset,
    Unique,
    check_prefix,
)

Prefetch = Literal["blocking", "concurrent"]

Vary = Annotated[tuple[Name, ...], Unique]


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
    tries: Annotated[int, Field(ge=1, le=10), NoFlag] = Field(
        default=3,
        description="How often a fetch is sent at most, within its budget.",
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
    max_connections: Annotated[int, Field(ge=1, le=1000), NoFlag] = Field(
        default=64, description="Calls under way at once, in one process."
    )
    warm_connections: Annotated[int, Field(ge=0, le=64), NoFlag] = Field(
        default=2, description="Connections opened at the start, before any page asks."
    )
    assets: Switch = Field(
        default="off",
        description="Whether requests for images, scripts, styles, fonts and media "
        "fetch experiences, where a route with a parameter matches them.",
    )
    server_timing: Flag = Field(
        default=True,
        description="Whether mapped pages have a Server-Timing header with the source "
        "and the duration of their experiences.",
    )


class CacheSettings(Section):
    """How long answers are kept."""

    ttl: Seconds = Field(
        default=60.0, description="How long an answer is fresh, in seconds."
    )
    stale: Seconds = Field(
        default=600.0,
        description="How long an answer is still served after its ttl, while a fetch "
        "in the background refreshes it, in seconds. An answer of the last hour is "
        "served for as long in a new one, at most: 0 makes experiences for an hour "
        "exact, at the price of many fetches then.",
    )
    max_entries: Count = Field(
        default=1_000_000, description="How many answers one process keeps at most."
    )
    max_bytes: Count = Field(
        default=64 * 1024 * 1024,
        description="How much memory the answers may take in one process, in bytes.",
    )
    vary: Vary | None = Field(
        default=None,
        description="The in-session attributes that are part of the cache key, beside "
        "the hour and the day; left out, all that the file names. USER_IP_ADDRESS and "
        "USER_AGENT are part of it only if they are named here.",
    )
    redis: Redis | None = Field(
        default=None,
        description="A Redis or Valkey that shares answers between processes and "
        "hosts, as in redis://host:6379/0; rediss:// for TLS.",
    )
    redis_timeout: PositiveSeconds = Field(
        default=0.05,
        description="How long to wait for one answer of the Redis, in seconds.",
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
        description="Who shares the budget: memory: (this process alone), "
        "sqlite:///moe-budget.db (all processes of a host) or redis://host:6379/0 (all "
        "hosts).",
    )
    pace: Literal["burst", "smooth"] = Field(
        default="burst",
        description="How calls are spread over a minute: all that the API has left may "
        "be made at once (burst), or evenly, of 10,000 a minute about 163 a second "
        "(smooth).",
    )


METADATA_INTERVAL = 300.0
"""Seconds between two updates of a real workspace's list of experiences."""


class MetadataSettings(Section):
    """How the workspace's list of experiences is kept up to date."""

    interval: Seconds | None = Field(
        default=None,
        description="The pause between two updates, in seconds; 0 turns updates off, "
        "and every key is then fetched. Left out it is 300, and 0 with data_center "
        "sandbox.",
    )

    def seconds(self, *, sandbox: bool) -> float:
        """Return the pause; 0 turns updates off."""
        if self.interval is not None:
            return self.interval
        # Edits of a sandbox's workspace should take effect at once.
        return 0.0 if sandbox else METADATA_INTERVAL


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
    journal: Name | None = Field(
        default=None,
        description="The folder of the journals, on a disk of this host: events wait "
        "there until they are stored, and survive their process. Left out: beside a "
        "SQLite file, else the current directory.",
    )
    synchronous: Literal["normal", "full"] = Field(
        default="normal",
        description="Whether events survive the end of their process alone (normal), "
        "or also a power cut (full). With full, an event is delivered once SQLite has "
        "it on the disk; a journal that stands in for a failing outbox is written to "
        "the disk each second.",
    )
    replicas: Annotated[int, Field(ge=0, le=100), NoFlag] | None = Field(
        default=None,
        description="For a Redis outbox: how many replicas must have an event before "
        "this host lets go of it. Left out: one, while there is one that sentinels or "
        "a cluster can make the primary.",
    )
    max_events: Count = Field(
        default=2_000_000,
        description="How many events may wait at most: in the outbox, and in each "
        "process's journal while the outbox cannot be written.",
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
    parallel: Annotated[int, Field(ge=1, le=64), NoFlag] = Field(
        default=8, description="Reports under way at once, in one relay."
    )
    platform: Platform = Field(
        default="web", description="The platform that events report."
    )
    user_timezone_offset: TimezoneOffset | None = Field(
        default=None,
        description="The visitors' offset from UTC, in seconds; left out, not sent.",
    )
    interval: PositiveSeconds = Field(
        default=1.0, description="The pause between the relay's polls, in seconds."
    )
    shutdown_timeout: Seconds = Field(
        default=2.0,
        description="How long a stopping process still delivers, in seconds.",
    )
    lease: PositiveSeconds = Field(
        default=30.0,
        description="How long a claimed event belongs to one relay, in seconds.",
    )


class ObservabilitySettings(Section):
    """Where metrics and traces go, beside an observer of your own."""

    prometheus: Flag = Field(
        default=False,
        description="Whether to count for Prometheus; needs the extra 'prometheus'.",
    )
    otel: Flag = Field(
        default=False,
        description="Whether to measure and trace for OpenTelemetry; needs the extra "
        "'otel'.",
    )


class ClickSettings(Section):
    """How links count clicks."""

    path: Annotated[str, AfterValidator(check_prefix)] = Field(
        default="/_moe",
        description="The path prefix of this middleware's own endpoints in the app.",
    )
    hosts: Annotated[tuple[Host, ...], Unique] = Field(
        default=(),
        description="Other hosts that a counted link may lead to, as "
        "partner.example.com or *.example.com.",
    )
    max_age: PositiveSeconds = Field(
        default=30 * 86_400.0,
        description="How long a link counts, in seconds; then it only redirects.",
    )


class DevelopmentSettings(Section):
    """Aids for developers of the site."""

    overlay: Overlay = Field(
        default="off",
        description="Which browsers get the overlay on HTML pages: none (off), those "
        "that opened a link of 'moe-middleware overlay' (link), or all (on). Unless "
        "data_center is sandbox, on is the same as link.",
    )
