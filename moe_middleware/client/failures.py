"""Advice on a failed call, one sentence for logs. Pure: no I/O."""

from __future__ import annotations

from urllib.parse import urlsplit

from ..models.errors import (
    AnswerError,
    APIError,
    AuthenticationError,
    BudgetError,
    DeadlineError,
    InvalidRequestError,
    MoEngageError,
    RateLimitedError,
    TransportError,
)
from ..settings.workspaces import Workspace

_LOCAL = ("127.0.0.1", "localhost", "::1", "0.0.0.0", "host.docker.internal")


def advice(workspace: Workspace, error: MoEngageError) -> str:
    """Return the probable cause and what to check, without any id or key."""
    url = workspace.url
    match error:
        case AuthenticationError():
            where = (
                "base_url leads to its server"
                if workspace.base_url
                else f"{workspace.data_center} is its data center"
            )
            return (
                f"{url} refuses the credentials: check that the key is the Personalize "
                f"tile's, that it is of the workspace {workspace.id}, and that {where}"
            )
        case BudgetError():
            return "our own budget is used up for now: see budget.calls_per_minute"
        case RateLimitedError():
            return "the workspace's calls are used up for now"
        case APIError() if error.status in (404, 405) and not url.endswith("/v1"):
            return f"{url} has no such page: write base_url with its /v1 at the end"
        case APIError() if error.status >= 500:
            return f"{url} is in trouble: pages go on with what the cache has"
        case InvalidRequestError():
            return f"{url} refuses what was sent: check the keys and the attributes"
        case APIError():
            return f"{url} answers {error.status}: is it the API's address?"
        case DeadlineError():
            return f"{url} is too slow for the time that was left: see fetch.timeout"
        case AnswerError():
            return f"{url} is not understood: {error}: check base_url, and any proxy"
        case TransportError() if urlsplit(url).hostname in _LOCAL:
            return f"{url} gives no answer: is 'moe-middleware sandbox' running?"
        case TransportError():
            return f"{url} cannot be reached: check data_center, base_url and network"
    return "see the README's table of reasons"
