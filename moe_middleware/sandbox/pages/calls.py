"""Sample calls to copy into a shell. Pure."""

from __future__ import annotations

import json
import shlex
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..decisions.targeting import explain
from ..decisions.visitors import Visitor
from ..protocol.endpoints import ROOT
from ..workspace.workspace import Customer, Experience, Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """One call of each endpoint, as curl commands."""

    fetch: str
    metadata: str
    events: str


def sample_calls(
    workspace: Workspace,
    address: str,
    now: float,
    experience: Experience | None = None,
) -> Calls:
    """Return calls that work at a time in unix seconds.

    Args:
        experience: The experience to use; left out, the first one. If it does not match
            the first customer, the event's context is left to be filled in.
    """
    chosen = experience or next(iter(workspace.experiences), None)
    customer = next(iter(workspace.customers), Customer(customer_id="ann"))
    fetch: dict[str, Any] = {"identifiers": {"customer_id": customer.customer_id}}
    if chosen:
        fetch["experience_key"] = [chosen.key]
    return Calls(
        fetch=curl(workspace, f"{address}{ROOT}fetch", fetch),
        metadata=curl(workspace, f"{address}{ROOT}metadata"),
        events=curl(
            workspace,
            f"{address}{ROOT}events",
            {"elements": [_element(workspace, customer, chosen, now)]},
        ),
    )


def curl(
    workspace: Workspace, address: str, body: Mapping[str, Any] | None = None
) -> str:
    """Return a call as a command; without a body it is a GET."""
    key = workspace.api_keys[0] if workspace.api_keys else ""
    lines = [
        f"curl -u {shlex.quote(f'{workspace.workspace_id}:{key}')}",
        f"-H {shlex.quote(f'MOE-APPKEY: {workspace.workspace_id}')}",
    ]
    if body is not None:
        text = json.dumps(body, ensure_ascii=False)
        lines += ["-H 'Content-Type: application/json'", f"-d {shlex.quote(text)}"]
    return " \\\n  ".join([*lines, shlex.quote(address)])


def _element(
    workspace: Workspace, customer: Customer, experience: Experience | None, now: float
) -> dict[str, Any]:
    context = {"cid": "", "experience": "", "moe_locale_id": "0"}
    context |= {"moe_variation_id": "", "audience_name": "", "audience_id": ""}
    if experience:
        visitor = Visitor(
            user_id=customer.customer_id, attributes=customer.attributes, session={}
        )
        context |= explain(workspace, experience, visitor, now=now).context
    action = {
        "action": "MOE_PERSONALIZATION_MESSAGE_SHOWN",
        "moe_event_uuid": str(uuid.uuid4()),
        "event_time": int(now),
        "platform": "web",
        "attributes": context,
    }
    return {"customer_id": customer.customer_id, "actions": [action]}
