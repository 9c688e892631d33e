"""The names that we use in OpenTelemetry and OpenFeature, with their sources.

The semantic conventions of feature flags are not final (the event is a release
candidate); when they move, only this module moves:
https://opentelemetry.io/docs/specs/semconv/feature-flags/feature-flags-events/.
"""

from __future__ import annotations

from ..models.reasons import Reason, Source

SCOPE = "moe_middleware"
SCHEMA = "https://opentelemetry.io/schemas/1.44.0"
"""The version of the conventions."""
PROVIDER = "MoEngage"

# --- the conventions' own names -------------------------------------------------

EVALUATION_EVENT = "feature_flag.evaluation"
KEY = "feature_flag.key"
VARIANT = "feature_flag.result.variant"
RESULT_REASON = "feature_flag.result.reason"
PROVIDER_NAME = "feature_flag.provider.name"
ERROR_TYPE = "error.type"
BATCH_COUNT = "messaging.batch.message_count"

# --- ours: no convention has them -----------------------------------------------

SOURCE = "moe.source"
REASON = "moe.reason"
ENDPOINT = "moe.endpoint"
OUTCOME = "moe.outcome"
STATE = "moe.state"
OUTBOX = "moe.outbox"
WHAT = "moe.event.change"

RELAY_SPAN = "moe.relay"
"""The span of a report of the relay; those of calls are ``moe.`` and the endpoint."""

_BY_SOURCE = {
    Source.API: "targeting_match",
    Source.CACHE: "cached",
    Source.STALE: "stale",
    Source.PREVIEW: "static",
}
_BY_REASON = {
    Reason.NO_MATCH: "default",
    Reason.BOT: "default",
    Reason.NO_CONSENT: "default",
    Reason.NOT_ACTIVE: "disabled",
    Reason.REVALIDATING: "stale",
}
_ERRORS = {
    Reason.NOT_REQUESTED: "flag_not_found",
    Reason.NO_REQUEST: "provider_not_ready",
    Reason.NOT_READY: "provider_not_ready",
    Reason.BAD_ANSWER: "parse_error",
    Reason.ERROR: "general",
}


def result_reason(source: Source, reason: Reason | None) -> str:
    """Return ``feature_flag.result.reason``; in capitals it is OpenFeature's reason."""
    if reason is None:
        return _BY_SOURCE.get(source, "unknown")
    return _BY_REASON.get(reason, "error")


def error_type(source: Source, reason: Reason | None) -> str | None:
    """Return ``error.type``; None for an evaluation without an error."""
    if reason is None or result_reason(source, reason) != "error":
        return None
    return _ERRORS.get(reason, str(reason))
