"""The counted events, read from the sandbox that plays MoEngage's part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from moe_middleware.sandbox import embedded

# The API's events and the Web SDK's have names of their own, which end alike.
IMPRESSION = "_MESSAGE_SHOWN"
RECENT = 6
TIMEOUT = 0.4

Event = Mapping[str, Any]


REAL = (
    "This demo talks to a real MoEngage workspace, which does its counting in its own "
    "reports. Here, only a sandbox can be read."
)


def sandbox_pages(environ: Mapping[str, str]) -> str | None:
    """Return where the sandbox's own pages are; None for a real workspace."""
    if base_url := environ.get("MOE_BASE_URL"):
        return base_url.rstrip("/").removesuffix("/v1")
    return (
        "/sandbox" if environ.get("MOE_DATA_CENTER", "sandbox") == "sandbox" else None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How often one variation was shown to one audience."""

    experience_key: str
    audience: str
    variation: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Clicked:
    """How often one element was clicked.

    Attributes:
        b_id: The element; empty where the event has none.
    """

    experience_key: str
    b_id: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """One event, as a line of the page.

    Attributes:
        b_id: Of a click, which element it was.
        by_web_sdk: Whether MoEngage's script in the page reported it.
    """

    experience_key: str
    variation: str
    who: str
    verb: str
    at: datetime
    b_id: str = ""
    by_web_sdk: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """The figures at the foot of a page.

    Attributes:
        total: All impressions.
        tallies: The impressions by experience, audience and variation.
        clicks: The clicks by experience and element.
        recent: The last few events, newest first.
        notice: The reason why nothing could be read; None otherwise.
    """

    total: int = 0
    tallies: tuple[Tally, ...] = ()
    clicks: tuple[Clicked, ...] = ()
    recent: tuple[Sighting, ...] = ()
    notice: str | None = None


async def read_counted(
    environ: Mapping[str, str], client: httpx.AsyncClient
) -> Counted:
    """Read the events of the workspace that this demo talks to, and sum them up.

    Where they cannot be read, the notice says why.
    """
    site = sandbox_pages(environ)
    if site is None:
        return Counted(notice=REAL)
    if site == "/sandbox":
        return sum_up(embedded().events)
    # A sandbox that listens to other machines asks for its token.
    token = environ.get("MOE_SANDBOX_TOKEN", "")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        answer = await client.get(
            f"{site}/_sandbox/events", headers=headers, timeout=TIMEOUT
        )
        return sum_up(answer.raise_for_status().json()["events"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return Counted(
            notice=f"The sandbox at {site} does not answer, so nothing can be read "
            "here. The shop goes on with its templates' defaults."
        )


def sum_up(events: Sequence[Event]) -> Counted:
    """Count impressions by variation and clicks by element; list the last events."""
    counts = Counter(_place(event) for event in events if _is_impression(event))
    clicks = Counter(
        (event["experience_key"], event.get("b_id") or "")
        for event in events
        if not _is_impression(event)
    )
    return Counted(
        total=counts.total(),
        tallies=tuple(
            Tally(experience_key=key, audience=audience, variation=variation, count=n)
            for (key, audience, variation), n in sorted(counts.items())
        ),
        clicks=tuple(
            Clicked(experience_key=key, b_id=b_id, count=n)
            for (key, b_id), n in sorted(clicks.items())
        ),
        recent=tuple(_sighting(event) for event in reversed(events[-RECENT:])),
    )


def _is_impression(event: Event) -> bool:
    action: str = event["action"]
    return action.endswith(IMPRESSION)


def _place(event: Event) -> tuple[str, str, str]:
    context = event["attributes"]
    return (
        event["experience_key"],
        context.get("audience_name", ""),
        context.get("moe_variation_id", ""),
    )


def _sighting(event: Event) -> Sighting:
    return Sighting(
        experience_key=event["experience_key"],
        variation=event["attributes"].get("moe_variation_id", ""),
        who=short(event["customer_id"]),
        verb="saw" if _is_impression(event) else "clicked",
        at=datetime.fromtimestamp(event["event_time"], UTC),
        b_id=event.get("b_id") or "",
        by_web_sdk=event.get("via") == "web_sdk",
    )


def short(customer_id: str) -> str:
    """Return an id that fits a narrow column: a browser's id is long and random."""
    return customer_id if len(customer_id) <= 12 else f"{customer_id[:8]}…"
