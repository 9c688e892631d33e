"""Makes the tables on an outbox and its events."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .terminal import duration, printable

if TYPE_CHECKING:
    from ..outbox import DeadLetter, WaitingEvent


def delivery_rows(delivery: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the state of the relays that write notes, as rows of a table."""
    if delivery["relays"] == 0:
        yield "relays", "none has noted itself in this outbox"
    else:
        yield "relays", str(delivery["relays"])
        yield "delivered", f"{delivery['delivered_per_minute']:,.0f} a minute"
    if (failed_at := delivery["failed_at"]) is not None:
        yield "last failure", f"{duration(time.time() - failed_at)} ago"
    if (next_try_at := delivery["next_try_at"]) is not None:
        yield "next try", f"in {duration(max(0.0, next_try_at - time.time()))}"
    if delivery["delivery_problem"]:
        yield "problem", printable(delivery["delivery_problem"])


def described(one: WaitingEvent | DeadLetter, *, reveal: bool) -> dict[str, Any]:
    """Return an event's fields to show; its ids and payload only with ``--reveal``."""
    from ..outbox import DeadLetter

    event = one.event
    about: dict[str, Any] = {
        "id": one.id,
        "kind": "waiting",
        "action": event.action if event else None,
        "age": age_of(one),
        "attempts": one.attempts,
    }
    if isinstance(one, DeadLetter):
        # The API's description, after the colon, may quote the request.
        reason = one.reason if reveal else one.reason.partition(":")[0]
        about |= {"kind": "dead", "reason": reason, "buried_at": one.buried_at}
    else:
        about["due_in"] = max(0.0, one.claimable_at - time.time())
    if reveal and event:
        about |= {
            "customer_id": event.customer_id,
            "uuid": event.uuid,
            "occurred_at": event.occurred_at,
            "platform": event.platform,
            "b_id": event.b_id,
            "experience_context": event.experience_context,
            "user_attributes": event.user_attributes,
            "user_timezone_offset": event.user_timezone_offset,
        }
    elif reveal:
        about["body"] = one.body.decode("utf-8", "backslashreplace")
    return about


def age_of(one: WaitingEvent | DeadLetter) -> float | None:
    """Return the age of an event, in seconds."""
    event = one.event
    return None if event is None else max(0.0, time.time() - event.occurred_at)


def cell(name: str, value: Any) -> str:
    if name in ("age", "due_in"):
        return duration(value) if value or name == "age" else "now"
    if value is None:
        return "-"
    return printable(value)
