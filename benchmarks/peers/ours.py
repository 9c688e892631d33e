"""moe_middleware: the client alone, whole pages, and the durable outbox with its relay.

It is installed in the project's own virtual environment, not in the rivals'.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from moe_middleware import (
    Event,
    Experience,
    Identity,
    MoEngageClient,
    MoEngageMiddleware,
    Settings,
    SQLiteOutbox,
)
from moe_middleware.cache.encoding import encode, read_kept
from moe_middleware.models.ids import new_ids
from moe_middleware.outbox.encoding import ImpressionEncoder
from moe_middleware.outbox.relay import Relay
from moe_middleware.personalizer.page_elements import PageElements

from ..shop import request_scope, visit
from .contract import CONTEXT, DEFAULTS, KEY, USERS

if TYPE_CHECKING:
    from ..losses.site import Shown

PATIENCE = 5.0
"""The page's budget, in seconds: longer than any answer of the benchmark takes."""

ATTRIBUTES = {"DAY_OF_THE_WEEK": "Friday", "TIME_OF_THE_DAY": "09"}


def settings(url: str, **sections: Any) -> Settings:
    """Return settings for the benchmark's upstream."""
    workspace = {"id": "W", "api_key": "K", "base_url": f"{url}/v1"}
    return Settings(workspace=workspace, **sections)


def impressions(count: int, users: Sequence[str] = USERS) -> list[Event]:
    """Return so many impressions, of these users in turn."""
    shown = Experience(key=KEY, experience_context=CONTEXT)
    return [Event.impression(shown, users[n % len(users)]) for n in range(count)]


class Client:
    """A fetch by our client, without cache and page."""

    def __init__(self, url: str) -> None:
        self._client = MoEngageClient(settings(url))

    async def fetch(self, user: str) -> object:
        found = await self._client.fetch(
            [KEY],
            identity=Identity(customer_id=user),
            attributes=ATTRIBUTES,
            timeout=PATIENCE,
        )
        return found[KEY].payload["Title"]


class Pages:
    """A page behind our middleware."""

    def __init__(self, url: str) -> None:
        self._app = MoEngageMiddleware(
            _reading_app(),
            config=settings(
                url,
                identity={"customer_id": {"cookie": "customer_id"}},
                routes=[{"path": "/{reads:int}", "experiences": [KEY]}],
                fetch={"timeout": PATIENCE},
                events={"outbox": "memory:"},
            ),
        )

    async def page(self, user: str, reads: int) -> object:
        status = await visit(self._app, request_scope(f"/{reads}", user))
        assert status == 200
        return status


class Events:
    """Impressions into a SQLite file, and from there to the upstream."""

    def __init__(self, url: str, directory: Path) -> None:
        self._outbox = SQLiteOutbox(str(directory / "ours.db"))
        self._client = MoEngageClient(settings(url))
        self._relay = Relay(self._outbox, self._client.report)
        answer = Experience(key=KEY, experience_context=CONTEXT)
        self._shown = read_kept(KEY, encode(answer), PageElements())
        self._encoder = ImpressionEncoder("web", None)

    def record(self, user: str) -> None:
        # As a page does after its last byte.
        bodies = self._encoder.encode((self._shown,), user, int(time()), new_ids(1))
        self._outbox.append_encoded(user, bodies)

    async def flush(self) -> None:
        await self._outbox.flush()
        await self._relay.deliver()


def peer(url: str, directory: Path, variant: str) -> Client | Pages | Events | Shown:
    match variant:
        case _ if variant == DEFAULTS:
            # The settings that MOE_CONFIG names.
            from ..losses.site import Shown

            return Shown()
        case "client":
            return Client(url)
        case "events":
            return Events(url, directory)
        case _:
            return Pages(url)


def _reading_app() -> Starlette:
    async def read(request: Request) -> Response:
        for _ in range(request.path_params["reads"]):
            title = request.state.experiences[KEY].payload["Title"]
        return PlainTextResponse(title)

    return Starlette(routes=[Route("/{reads:int}", read)])
