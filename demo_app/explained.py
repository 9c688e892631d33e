"""The link from a page to the sandbox's explanation of it, for the same visitor."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import urlencode

from starlette.requests import Request

from moe_middleware import Identity

SESSION = ("utm_medium", "sku")
"""The in-session attributes of ``moe.yml``."""


def explain_link(
    sandbox: str, request: Request, identity: Identity, now: datetime
) -> str:
    """Return the address of the explanation.

    Args:
        sandbox: The address of the sandbox's pages.
        request: The page's request.
        identity: The ids that the page's fetch had: none without consent.
        now: The time in UTC; day and hour are part of every fetch.
    """
    given = dict(request.query_params) | dict(request.path_params)
    session = [f"{name}={given[name]}" for name in SESSION if given.get(name)]
    known = identity.customer_id or identity.visitor_id
    fields = {
        "customer_id": identity.customer_id,
        "visitor_id": "" if identity.customer_id else identity.visitor_id,
        "hour": f"{now:%H}",
        "day": f"{now:%A}",
        "session": "\n".join(session),
        "user_agent": request.headers.get("user-agent") if known else "",
    }
    query = urlencode({name: value for name, value in fields.items() if value})
    return f"{sandbox}/explain?{query}"
