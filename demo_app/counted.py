"""The counted events, read from the sandbox that plays MoEngage's part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import httpx

from moe_middleware.sandbox import embedded

# The API's events and the Web SDK's have names of their own, which end alike.
IMPRESSION = "_MESSAGE_SHOWN"
RECENT = 6
TIMEOUT = 0.4

Event = Mapping[str, Any]


class Ledger(Protocol):
    """Where the counted events are read. Without an answer it raises LedgerError."""

    async def events(self) -> Sequence[Event]: ...


class LedgerError(Exception):
    """Nothing can be read; the text says why, in words for the page."""


class EmbeddedLedger:
    """The sandbox inside this very process."""

    async def events(self) -> Sequence[Event]:
        return embedded().events


class ServerLedger:
    """A sandbox that runs as a server of its own.

    Args:
        base_url: The address the demo fetches from, as in ``MOE_BASE_URL``.
        client: Who asks; the caller closes it.
        token: What a sandbox asks for that listens to other machines.
    """

    def __init__(
        self, base_url: str, client: httpx.AsyncClient, token: str = ""
    ) -> None:
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._site = base_url.rstrip("/").removesuffix("/v1")
        self._client = client

    async def events(self) -> Sequence[Event]:
        try:
            answer = await self._client.get(
                f"{self._site}/_sandbox/events",
                headers=self._headers,
                timeout=TIMEOUT,
            )
            events: Sequence[Event] = answer.raise_for_status().json()["events"]
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise LedgerError(
                f"The sandbox at {self._site} does not answer, so nothing can be read "
                "here. The shop goes on with its templates' defaults."
            ) from error
        return events


class NoLedger:
    """A real workspace: its figures are in MoEngage's own reports."""

    async def events(self) -> Sequence[Event]:
        raise LedgerError(
            "This demo talks to a real MoEngage workspace, which does its counting "
            "in its own reports. Here, only a sandbox can be read."
        )


def sandbox_pages(environ: Mapping[str, str]) -> str | None:
    """Return where the sandbox's own pages are; None for a real workspace."""
    if base_url := environ.get("MOE_BASE_URL"):
        return base_url.rstrip("/").removesuffix("/v1")
    return (
        "/sandbox" if environ.get("MOE_DATA_CENTER", "sandbox") == "sandbox" else None
    )


def open_ledger(environ: Mapping[str, str], client: httpx.AsyncClient) -> Ledger:
    """Choose the ledger that belongs to the workspace this demo talks to."""
    if base_url := environ.get("MOE_BASE_URL"):
        return ServerLedger(base_url, client, environ.get("MOE_SANDBOX_TOKEN", ""))
    if environ.get("MOE_DATA_CENTER", "sandbox") == "sandbox":
        return EmbeddedLedger()
    return NoLedger()


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


async def read_counted(ledger: Ledger) -> Counted:
    """Read the ledger and sum it up; where it cannot be read, the notice says why."""
    try:
        events = await ledger.events()
    except LedgerError as error:
        return Counted(notice=str(error))
    return sum_up(events)


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
