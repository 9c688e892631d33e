"""The sandbox: an ASGI app that answers as MoEngage's Personalize API does."""

from __future__ import annotations

import logging
import os
import random
import string
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import Problem
from .api import Api, endpoint_of
from .definitions import Payload, define_experience
from .events import ACTIONS
from .faults import UNSAID, Fault, FaultList, Hit, Path
from .guards import check_site
from .leniencies import Leniencies
from .limits import MinuteLimit
from .pages import page_routes
from .refusals import Refusal, plain_refusal
from .report_routes import report_routes
from .request_log import RequestLog
from .sample import sample_workspace
from .schedules import Status
from .stores import Store
from .tables import MEMORY
from .tool_routes import json_response, tool_routes
from .web_sdk import web_sdk_routes
from .workspace import Customer, Experience, Workspace

logger = logging.getLogger(__name__)

SHOWN, CLICKED = ACTIONS

Configured = Workspace | str | os.PathLike[str]
"""A workspace, or the file that it is read from."""

_HINTS = {
    404: "There is no such path: GET / lists them.",
    405: "The path takes other methods: the header Allow lists them.",
}


def eight_letters() -> str:
    """Return a code of the form that the API's errors and receipts carry."""
    return "".join(random.choices(string.ascii_letters, k=8))


class Sandbox:
    """A local look-alike of the Personalize API, with hands for tests.

    Calls may come from several threads and event loops at once.

    Args:
        workspace: What is configured, or the file that says so, which is read again
            whenever it changes; the sample workspace where left out.
        clock: The time in unix seconds.
        letters: Makes the codes of errors and receipts.
        db: The SQLite file of what is counted; left out, memory.
        strict: Whether to take only what the newest documents allow, whatever the
            workspace says.

    Attributes:
        store: What was counted.
        faults: What goes wrong with the next calls.
        requests: The last calls.
        limit: The fetches left in this minute.
        leniencies: What calls did that the newest documents do not allow.
        letters: Makes the codes of errors and receipts.
        hosts: The names that a browser reaches it by, beside localhost and addresses;
            its pages and tools refuse others, as another site could have them.
        token: What the pages and tools ask for, from whatever host; empty for none.
        address: Where it listens, as in ``http://127.0.0.1:8787``; empty in process.
    """

    def __init__(
        self,
        workspace: Configured | None = None,
        *,
        clock: Callable[[], float] = time.time,
        letters: Callable[[], str] = eight_letters,
        db: str | os.PathLike[str] = MEMORY,
        strict: bool = False,
    ) -> None:
        self._time = clock
        self._frozen_at: float | None = None
        self.letters = letters
        self.address = ""
        self.hosts: set[str] = set()
        self.token = ""
        self._read, self._problems = _reader(workspace or sample_workspace())
        self._strict = strict
        self._as_read = self._read()
        self._workspace = self._as_used(self._as_read)
        self.store = Store(os.fspath(db), self._workspace)
        self.faults = FaultList(self._workspace.faults)
        self.requests = RequestLog()
        self.limit = MinuteLimit(self.clock)
        self.leniencies = Leniencies()
        self._calls: Counter[str] = Counter()
        self._calls_lock = threading.Lock()
        self._api = Api(self)
        self._beside = self._guarded(self._build_beside())

    # --- what is configured --------------------------------------------------

    @property
    def workspace(self) -> Workspace:
        """What is configured right now."""
        read = self._read()
        if read is not self._as_read:
            before, self._as_read = self._as_read, read
            self._use(read)
            if read.faults != before.faults:
                self.faults.reset(read.faults)
        return self._workspace

    @workspace.setter
    def workspace(self, workspace: Configured) -> None:
        self._read, self._problems = _reader(workspace)
        self._as_read = self._read()
        self._use(self._as_read)
        self.faults.reset(self._as_read.faults)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The mistakes in the workspace file now; the last good one stays in use."""
        return self._problems()

    def define(
        self,
        key: str,
        payloads: Payload | Sequence[Payload],
        *,
        to: Mapping[str, Any] | None = None,
        name: str | None = None,
        status: Status | str = Status.ACTIVE,
    ) -> Experience:
        """Configure an experience until the next reset, in place of one of this key.

        Args:
            key: The experience key.
            payloads: Its content by name; several for variations in equal parts.
            to: Which attributes a customer must have; left out, All Users get it.
            name: Left out, it is the key.
            status: As on the wire, as in ``Paused``.

        Raises:
            ValueError: A value makes no sense.
        """
        one = define_experience(key, payloads, to=to, name=name, status=status)
        workspace = self.workspace
        others = [other for other in workspace.experiences if other.key != key]
        self._use(replace(workspace, experiences=(*others, one)))
        return one

    def customer(self, customer_id: str, **attributes: Any) -> Customer:
        """Make a customer known until the next reset, in place of one of this id."""
        one = Customer(customer_id=customer_id, attributes=attributes)
        workspace = self.workspace
        others = [
            other for other in workspace.customers if other.customer_id != customer_id
        ]
        self._use(replace(workspace, customers=(*others, one)))
        return one

    def _use(self, workspace: Workspace) -> None:
        self._workspace = self._as_used(workspace)
        self.store.use(self._workspace)

    def _as_used(self, workspace: Workspace) -> Workspace:
        return replace(workspace, strict=True) if self._strict else workspace

    # --- the time ------------------------------------------------------------

    def clock(self) -> float:
        """Return the sandbox's time in unix seconds."""
        return self._time() if self._frozen_at is None else self._frozen_at

    def freeze(self, at: float | datetime | None = None) -> None:
        """Let the sandbox's time stand still until the next reset.

        Args:
            at: When, in unix seconds; left out, now.
        """
        if isinstance(at, datetime):
            at = at.timestamp()
        self._frozen_at = self.clock() if at is None else at

    # --- what happened -------------------------------------------------------

    @property
    def events(self) -> list[dict[str, Any]]:
        """Every stored action, newest last."""
        return self.store.events()

    @property
    def calls(self) -> Counter[str]:
        """How many calls came to ``fetch``, ``metadata`` and ``events``."""
        with self._calls_lock:
            return self._calls.copy()

    def impressions(self, key: str, variation_id: str | None = None) -> int:
        """Return how many impressions of an experience were counted, by either way."""
        return self.store.count(
            experience_key=key, action=SHOWN, variation_id=variation_id
        )

    def clicks(self, key: str, b_id: str | None = None) -> int:
        """Return how many clicks at an experience were counted.

        Args:
            key: The experience key.
            b_id: Only those at this element.
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
        times: int | None = UNSAID,
        rate: float = 1.0,
        drop: bool = False,
        lose_response: bool = False,
        drip: float | None = None,
        garbage: bool = False,
        seed: int = 0,
    ) -> None:
        """Let the next calls go wrong; ``Fault`` says what the arguments mean.

        Raises:
            ValueError: A value makes no sense.
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

    def reset(self) -> None:
        """Go back to the start.

        Events, learnt profiles, calls and the log are forgotten, what was defined is
        undone, the clock runs again, and only the workspace's own faults are left.
        """
        self._frozen_at = None
        self._use(self._as_read)
        self.store.reset()
        self.faults.reset(self._as_read.faults)
        self.requests.clear()
        self.limit.reset()
        self.leniencies.clear()
        with self._calls_lock:
            self._calls.clear()

    def close(self) -> None:
        """Let go of the file of what was counted."""
        self.store.close()

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
            # The 500 is on its way; an in-process client must see just that.
            logger.exception("sandbox_failed path=%s", scope["path"])

    def _guarded(self, app: ASGIApp) -> ASGIApp:
        """Return what stands beside the API, out of other sites' reach."""

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            answer: ASGIApp | None = None
            if scope["type"] == "http":
                try:
                    answer = check_site(scope, self.hosts, self.token)
                except Refusal as refusal:
                    answer = self._response(refusal)
            await (answer or app)(scope, receive, send)

        return guarded

    def arrive(self, endpoint: str) -> Hit | None:
        """Count a call that has just come, and return the fault that hits it."""
        with self._calls_lock:
            self._calls[endpoint] += 1
        return self.faults.take(endpoint)

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


def _reader(
    workspace: Configured,
) -> tuple[Callable[[], Workspace], Callable[[], tuple[Problem, ...]]]:
    """Return what gives the workspace as it is by now, and its file's mistakes."""
    if isinstance(workspace, str | os.PathLike):
        from .workspace_file import WorkspaceFile

        file = WorkspaceFile(workspace)
        return file.current, lambda: file.problems
    return lambda: workspace, tuple
