"""The sandbox as an ASGI app: MoEngage's Personalize API, its pages and its tools."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from .api import Api
from .guards import check_site
from .memory.state import State
from .pages import page_routes
from .protocol.endpoints import endpoint_of
from .protocol.events import ACTIONS
from .protocol.refusals import Refusal, plain_refusal
from .reports.report_routes import report_routes
from .tool_routes import json_response, tool_routes
from .web_sdk import web_sdk_routes
from .workspace.definitions import Payload, define_customer, define_experience
from .workspace.faults import NOT_GIVEN, Fault, Path
from .workspace.schedules import Status
from .workspace.workspace import Customer, Experience

logger = logging.getLogger(__name__)

SHOWN, CLICKED = ACTIONS

_HINTS = {
    404: "Unknown path: GET / lists the paths.",
    405: "The path takes other methods: the header Allow lists them.",
}


class Sandbox(State):
    """A local look-alike of the Personalize API, with methods for tests.

    Args:
        workspace: The workspace, or its file, which is read again whenever it changes;
            left out, the sample workspace.
        clock: The time, in unix seconds.
        letters: Makes the codes of errors and receipts.
        db: The SQLite file of events and counts; left out, memory.
        strict: Whether to accept only calls that the newest documents allow, whatever
            the workspace's own setting.

    Attributes:
        address: Its URL, as in ``http://127.0.0.1:8787``; empty in process.
        hosts: The host names that browsers may use, beside addresses and names without
            a dot: ``hosts.add("shop.test")``.
        requests: The last calls: ``requests.latest()``.
        token: The token that the pages and tools require; empty for none.
    """

    @cached_property
    def _api(self) -> Api:
        return Api(self)

    # Made when first needed: many tests use the API alone.
    @cached_property
    def _beside(self) -> ASGIApp:
        return self._guarded(self._build_beside())

    # --- configuration -------------------------------------------------------

    def define(
        self,
        key: str,
        payloads: Payload | Sequence[Payload],
        *,
        to: Mapping[str, Any] | None = None,
        name: str | None = None,
        status: Status | str = Status.ACTIVE,
    ) -> Experience:
        """Add an experience until the next reset; it replaces one of the same key.

        Args:
            key: The experience key.
            payloads: Payload values by name; several mappings for variations of equal
                shares.
            to: The attributes that a customer must have; left out, All Users match.
            name: The name; left out, the key.
            status: The API's word for it, as in ``Paused``.

        Raises:
            ValueError: A value is invalid.
            TypeError: An argument has another type.
        """
        one = define_experience(key, payloads, to=to, name=name, status=status)
        workspace = self.workspace
        others = [other for other in workspace.experiences if other.key != key]
        self._use(replace(workspace, experiences=(*others, one)))
        return one

    def customer(self, customer_id: str, **attributes: Any) -> Customer:
        """Add a customer until the next reset; it replaces one of the same id.

        Raises:
            TypeError: ``customer_id`` is no text.
        """
        one = define_customer(customer_id, attributes)
        workspace = self.workspace
        others = [
            other for other in workspace.customers if other.customer_id != customer_id
        ]
        self._use(replace(workspace, customers=(*others, one)))
        return one

    # --- events and calls ----------------------------------------------------

    @property
    def events(self) -> list[dict[str, Any]]:
        """All stored actions, the newest last."""
        return self.store.events()

    def impressions(self, key: str, variation_id: str | None = None) -> int:
        """Return the number of an experience's impressions, of any origin."""
        return self.store.count(
            experience_key=key, action=SHOWN, variation_id=variation_id
        )

    def clicks(self, key: str, b_id: str | None = None) -> int:
        """Return the number of an experience's clicks.

        Args:
            key: The experience key.
            b_id: Count only clicks on this element.
        """
        return self.store.count(experience_key=key, action=CLICKED, b_id=b_id)

    # --- trouble -------------------------------------------------------------

    def fault(
        self,
        path: Path = "*",
        *,
        status: int | None = None,
        latency: float = 0.0,
        jitter: float = 0.0,
        times: int | None = NOT_GIVEN,
        rate: float = 1.0,
        drop: bool = False,
        lose_response: bool = False,
        drip: float | None = None,
        garbage: bool = False,
        seed: int = 0,
    ) -> None:
        """Apply a fault to the next calls; the arguments are those of ``Fault``.

        Raises:
            ValueError: A value is invalid.
        """
        fault = Fault(
            path=path,
            status=status,
            latency=latency,
            jitter=jitter,
            times=times,
            rate=rate,
            drop=drop,
            lose_response=lose_response,
            drip=drip,
            garbage=garbage,
            seed=seed,
        )
        self.faults.add(fault)

    # --- ASGI ----------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = endpoint_of(scope) if scope["type"] == "http" else None
        if endpoint is not None:
            await self._api.serve(endpoint, scope, receive, send)
            return
        try:
            await self._beside(scope, receive, send)
        except Exception:
            if scope["type"] != "http":
                raise
            # The 500 is being sent; an in-process client must receive just that.
            logger.exception("sandbox_failed path=%s", scope["path"])

    def _guarded(self, app: ASGIApp) -> ASGIApp:
        """Return the pages and tools, protected against requests of other sites."""

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            answer: ASGIApp | None = None
            if scope["type"] == "http":
                try:
                    answer = check_site(scope, self.hosts, self.token)
                except Refusal as refusal:
                    answer = self._response(refusal)
            await (answer or app)(scope, receive, send)

        return guarded

    def _build_beside(self) -> Starlette:
        app = Starlette(
            routes=[
                *page_routes(self),
                *report_routes(self),
                *tool_routes(self),
                *web_sdk_routes(self),
            ],
            exception_handlers={
                Refusal: self._refuse,
                HTTPException: self._refuse,
                Exception: self._refuse,
            },
        )
        # As in the API, whose clients follow no redirects.
        app.router.redirect_slashes = False
        return app

    async def _refuse(self, _request: Request, error: Exception) -> Response:
        headers: Mapping[str, str] = {}
        match error:
            case Refusal():
                refusal = error
            case HTTPException(status_code=status):
                hint = _HINTS.get(status, error.detail)
                refusal, headers = plain_refusal(status, hint), error.headers or {}
            case _:
                refusal = plain_refusal(500, "The sandbox has a mistake in it.")
        response = self._response(refusal)
        response.headers.update(headers)
        return response

    def _response(self, refusal: Refusal) -> Response:
        return json_response(refusal.envelope(self.letters), refusal.status)
