"""The source of an experience, and the reason of an empty one."""

from __future__ import annotations

from enum import StrEnum


class Source(StrEnum):
    """The source of an answer."""

    API = "api"
    CACHE = "cache"
    STALE = "stale"
    FALLBACK = "fallback"
    PREVIEW = "preview"


class Reason(StrEnum):
    """The reason why an experience is empty, or stale."""

    NO_MATCH = "no_match"
    NOT_REQUESTED = "not_requested"
    NO_REQUEST = "no_request"
    REVALIDATING = "revalidating"
    NOT_READY = "not_ready"
    TOO_LATE = "too_late"
    NOT_ACTIVE = "not_active"
    BOT = "bot"
    NO_CONSENT = "no_consent"
    BREAKER_OPEN = "breaker_open"
    BUDGET_SPENT = "budget_spent"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    BAD_ANSWER = "bad_answer"
    BAD_PAYLOAD = "bad_payload"
    SERVER_ERROR = "server_error"
    RATE_LIMITED = "rate_limited"
    UNAUTHORIZED = "unauthorized"
    INVALID_REQUEST = "invalid_request"
    ERROR = "error"
