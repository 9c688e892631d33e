"""The figures of a plan, rounded as far as a simulation can tell. Pure."""

from __future__ import annotations

from math import ceil, sqrt
from typing import Any

from . import costs
from .formula import fetches_a_minute, fetches_after_the_hour
from .plan import Plan, redis_load


def summary(plan: Plan) -> dict[str, Any]:
    """Return a plan as plain values for JSON."""
    traffic, setup = plan.traffic, plan.setup
    played, wanted = plan.simulated, plan.unbounded
    pages = played.total("requests") or 1
    height = traffic.busiest_visits * traffic.pages
    sizes = costs.SQLITE_EVENT_BYTES, costs.REDIS_EVENT_BYTES
    event_bytes = sizes[setup.outbox == "redis"]
    return {
        "day": {
            "visitors": traffic.visitors,
            "pages": round(traffic.visitors * traffic.pages),
            "events": round(traffic.events_a_day),
        },
        "busiest_minute": {
            # Bots get pages, too, but no experiences.
            "requests": round(height / (1 - traffic.bots)),
            "pages": round(height),
            "visits": round(traffic.busiest_visits),
            "events_a_second": round(traffic.events_a_second, 2),
        },
        "pages_percent": {
            "fresh": _percent((played.total("fresh") + played.total("shared")) / pages),
            "stale": _percent(played.total("stale") / pages),
            "waited": _percent(played.total("waited") / pages),
            "fallback": _percent(played.total("fallbacks") / pages),
        },
        "fetches_a_minute": {
            "limit": setup.limit,
            "mean": round(wanted.mean("wanted")),
            "p99": round(wanted.p99("wanted")),
            "formula": round(fetches_a_minute(traffic, setup)),
            "formula_after_the_hour": round(fetches_after_the_hour(traffic, setup)),
            "made": round(played.mean("fetches")),
            "kept_back": round(played.mean("kept_back")),
            "refused": round(played.mean("refused")),
        },
        "cache": {
            "bytes_a_process": round(
                max(minute.cached_bytes for minute in wanted.minutes)
            ),
            "max_bytes": setup.max_bytes,
            "bytes_a_visitor": round(costs.visitor_bytes(round(traffic.keys))),
        },
        "redis": {
            "commands_a_second": round(redis_load(traffic, setup, wanted)[0]),
            "cache_bytes": round(
                wanted.p99("shared_answers")
                * (costs.REDIS_ENTRY_BYTES + setup.answer_bytes)
            ),
        },
        "outbox": {
            "bytes_an_event": event_bytes,
            "bytes_an_hour_undelivered": round(
                traffic.events_a_second * 3600 * event_bytes
            ),
            "full_after_seconds": round(
                setup.events_bear / max(traffic.events_a_second, 1e-9)
            ),
        },
        "relay": {
            "relays": setup.all_relays,
            "events_a_second_each": round(setup.relay_bears),
            "needed": max(1, ceil(traffic.events_a_second / setup.relay_bears)),
            "cpu_percent": round(
                100 * traffic.events_a_second / costs.RELAY_CPU_EVENTS, 2
            ),
        },
        "parts": [
            {
                "name": part.name,
                "used": round(part.used, 2),
                "limit": round(part.limit, 2),
                "unit": part.unit,
                "percent": _percent(part.share),
                "remedy": part.remedy,
            }
            for part in plan.parts
        ],
        "changes": [
            {
                "what": change.what,
                "fetches_a_minute": round(change.fetches),
                "after_the_hour": round(change.after_the_hour),
            }
            for change in plan.changes
        ],
        "simulated": {
            "minutes": len(played.minutes),
            "one_visitor_in": played.one_in,
            "exact_to_percent": _percent(
                sqrt(played.one_in / max(1.0, wanted.p99("wanted")))
            ),
        },
    }


def _percent(share: float) -> float:
    return round(100 * share, 1)
