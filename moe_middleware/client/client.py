"""The client of the API's three endpoints."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode

from pydantic import SecretStr

from ..concurrency.event_loops import PerLoop
from ..logs.log_lines import one_line
from ..models import arguments
from ..models.errors import (
    AnswerError,
    AuthenticationError,
    DeadlineError,
    MoEngageError,
)
from ..models.events import Event
from ..models.experience import EMPTY, Experience, ExperienceMetadata
from ..models.experiences import Experiences
from ..models.identity import Identity
from ..models.json_texts import MAX_DEPTH
from ..models.observers import Observer, observer_of
from ..models.reasons import Reason
from ..network.addresses import URL
from ..network.http import Headers, KeptConnections
from ..network.published_limits import limits_of
from ..settings.replacements_in_tests import add_follower, in_place_of
from ..settings.settings import Config, Settings
from ..settings.workspaces import FLAT_HAS_NO_IDENTIFIERS
from . import event_reports, wire
from .budget import CallBudget
from .call_retries import retry_pause, take_turn
from .parsing import merge, parse_in_time
from .sending import (
    abandon,
    close,
    fixed_headers,
    is_receipt,
    joined_url,
    plain_body,
    send,
    transport_maker,
)

if TYPE_CHECKING:
    from .sending import TransportFactory

logger = logging.getLogger(__name__)

REPORT_TIMEOUT = 10.0
"""Seconds for a report or the metadata; no page waits for them."""

MAX_UNUSABLE = 1_000
"""Keys with an unusable answer that are logged, once each, at most."""

UNUSABLE = (
    "its answer is no object with a payload and an experience_context, or it is nested "
    f"deeper than {MAX_DEPTH} levels: look at the experience in the dashboard"
)


class MoEngageClient:
    """An async client of the Personalize API, usable on its own.

    It opens its connections at the first call and keeps them, one set for each event
    loop. Close it with ``async with`` or ``aclose()``. ``SyncMoEngageClient`` is the
    same for sync code.

    Args:
        settings: The whole configuration: ``Settings``, a mapping like a file's
            content, or a file's path. None reads the environment.
        budget: Limits the fetches; each try takes a call from it. None sets no limit.
        observer: Receives the outcome of each call.
        transport: Makes the transport to send through; None takes the network, or
            the embedded sandbox where the data center is ``sandbox``.
        clock: The time, in unix seconds.
        keywords: ``workspace_id``, ``api_key``, ``api_keys``, ``data_center`` and
            ``base_url`` for a client without ``settings``.

    Attributes:
        server_date: The Date header of the last response; None before the first.

    Raises:
        SettingsError: The configuration is invalid.
        TypeError: ``observer`` is no ``Observer``, ``budget`` no budget, ``transport``
            no function; or, at the first call, its result is no
            ``httpx.AsyncBaseTransport``.
    """

    def __init__(
        self,
        settings: Config = None,
        *,
        budget: CallBudget | None = None,
        observer: Observer | None = None,
        transport: TransportFactory | None = None,
        clock: Callable[[], float] = time.time,
        **keywords: Any,
    ) -> None:
        load = Settings.from_env if settings is None else partial(Settings.of, settings)
        self._transport = transport
        self._use(in_place_of(load(**keywords)))
        if budget is not None and not callable(getattr(budget, "take", None)):
            raise TypeError(f"budget is of type {type(budget).__name__}: leave it out")
        self._budget = budget
        self._observer = observer_of(observer)
        self._clock = clock
        self.server_date: str | None = None
        add_follower(self)

    def _use(self, settings: Settings) -> None:
        self._settings, workspace = settings, settings.workspace
        self._url = URL.parse(f"{workspace.url}/experiences/")
        self.use_keys(workspace.keys)
        self._says_flat = workspace.dialect == "flat"
        self._unusable: set[str] = set()
        make = transport_maker(settings, self._url, self._transport)
        self._transports = PerLoop(make, end=close, drop=abandon)

    def follow(self, change: Callable[[Settings], Settings]) -> Callable[[], None]:
        """Use changed settings, as tests do; return the function that ends this."""
        before = vars(self).copy()
        self._use(change(self._settings))
        return lambda: vars(self).update(before)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def use_keys(self, keys: Sequence[SecretStr]) -> None:
        """Use these API keys from now on, the newest first. Thread-safe.

        Raises:
            TypeError: ``keys`` is no list of secrets, or is empty.
        """
        if not keys or not all(isinstance(key, SecretStr) for key in keys):
            raise TypeError("keys: write pydantic's secrets, as in [SecretStr(key)]")
        workspace = self._settings.workspace
        self._headers = tuple(
            fixed_headers(self._url, workspace.id, key.get_secret_value())
            for key in keys
        )
        # The newest key first, also where another one worked before.
        self._live_key = 0

    async def warm(self) -> None:
        """Open connections ahead of the first call (``fetch.warm_connections``)."""
        transport = self._transports.current()
        if isinstance(transport, KeptConnections):
            await transport.warm(self._url, self._settings.fetch.warm_connections)

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        transport = self._transports.pop()
        if transport is not None:
            await transport.aclose()

    async def fetch(
        self,
        keys: Iterable[str] = (),
        *,
        identity: Identity | None = None,
        attributes: Mapping[str, str] = EMPTY,
        timeout: float | None = None,
    ) -> Experiences:
        """Fetch a visitor's experiences (document: Fetch Experience).

        More than 25 keys are fetched in concurrent calls. If only some calls fail,
        their keys come back as fallbacks with the reason.

        Args:
            keys: Experience keys; without any, all experiences of the visitor.
            identity: The visitor's ids; None for an unknown visitor.
            attributes: In-session attributes, as in ``{"utm_medium": "email"}``.
            timeout: Seconds for everything, retries included; None takes the settings'
                ``fetch.timeout``.

        Raises:
            TransportError: No usable response (DeadlineError: not in time).
            APIError: The API refused the call (AuthenticationError,
                InvalidRequestError, RateLimitedError).
            BudgetError: The budget has no call left.
            TypeError, ValueError: An argument is none, as a text for ``keys``.
        """
        identity = arguments.identity_of(identity)
        attributes = arguments.mapping_of(attributes)
        chunks = wire.split_keys(arguments.texts_of(keys, "keys", "homepage-banner"))
        if timeout is None:
            timeout = self._settings.fetch.timeout
        timeout = arguments.seconds_of(timeout)
        if len(chunks) == 1:
            found = await self._fetch(chunks[0], identity, attributes, timeout)
            return Experiences(found, identity=identity)
        answers = await asyncio.gather(
            *(self._fetch(chunk, identity, attributes, timeout) for chunk in chunks),
            return_exceptions=True,
        )
        return Experiences(merge(chunks, answers), identity=identity)

    async def metadata(self, statuses: Sequence[str] = ()) -> list[ExperienceMetadata]:
        """List the workspace's experiences (document: Fetch Experience Metadata).

        Args:
            statuses: Some of ``Active``, ``Paused`` and ``Scheduled``, spelled exactly
                so; none means all three.

        Raises:
            TransportError, APIError: As for ``fetch``.
            TypeError: ``statuses`` is no list of texts, as one text.
        """
        statuses = arguments.texts_of(statuses or (), "statuses", "Active")
        query = f"?{urlencode({'status': ','.join(statuses)})}" if statuses else ""
        body = await self._call("GET", f"metadata{query}", b"", REPORT_TIMEOUT)
        return await parse_in_time(partial(wire.parse_metadata, body), body)

    async def report(self, events: Iterable[Event]) -> None:
        """Report impressions and clicks (document: Track Experience Events).

        More than 100 customers take several calls, one after the other. Reporting an
        event again is harmless: MoEngage deduplicates by its uuid.

        Raises:
            TransportError, APIError: As for ``fetch``; report all of them again.
            TypeError: ``events`` is no list of events.
        """
        for body in event_reports.reports(arguments.events_of(events)):
            await self._call("POST", "events", body, REPORT_TIMEOUT)

    async def _fetch(
        self,
        keys: Sequence[str],
        identity: Identity,
        attributes: Mapping[str, str],
        timeout: float,
    ) -> list[Experience]:
        body = wire.fetch_body(
            keys,
            identity=identity,
            attributes=attributes,
            dialect=self._settings.workspace.dialect,
            anonymous_as=self._settings.identity.anonymous_as,
        )
        if self._says_flat and identity.user_identifiers:
            self._says_flat = False
            logger.warning("user_identifiers_not_sent: %s", FLAT_HAS_NO_IDENTIFIERS)
        answer = await self._call("POST", "fetch", body, timeout)
        values = self._settings.fetch.payload_values
        parse = partial(wire.parse_experiences, answer, keys, values=values)
        found = await parse_in_time(parse, answer)
        for one in found:
            is_new = one.reason is Reason.BAD_ANSWER and one.key not in self._unusable
            if is_new and len(self._unusable) < MAX_UNUSABLE:
                self._unusable.add(one.key)
                shown = one_line(one.key)
                logger.warning("experience_unusable key=%s: %s", shown, UNUSABLE)
        return found

    async def _call(
        self, method: str, endpoint: str, body: bytes, timeout: float
    ) -> bytes:
        """Send until a try succeeds, no retry can help, or time is up; notify."""
        started, outcome = time.monotonic(), Reason.ERROR.value
        try:
            answer = await self._try(method, endpoint, body, timeout)
            outcome = "ok"
            return answer
        except MoEngageError as error:
            outcome = error.reason.value
            raise
        finally:
            seconds = time.monotonic() - started
            self._observer.called(endpoint.partition("?")[0], seconds, outcome)

    async def _try(
        self, method: str, endpoint: str, body: bytes, timeout: float
    ) -> bytes:
        failure: MoEngageError | None = None
        deadline = time.monotonic() + timeout
        try:
            async with asyncio.timeout(timeout):
                for failures in range(1, self._settings.fetch.tries + 1):
                    try:
                        return await self._try_keys(method, endpoint, body, deadline)
                    except MoEngageError as error:
                        failure = error
                    pause = retry_pause(failure, failures, deadline - time.monotonic())
                    if pause is None or failures == self._settings.fetch.tries:
                        break
                    await asyncio.sleep(pause)
        except TimeoutError as error:
            raise failure or DeadlineError(
                f"no answer within {timeout:g} seconds"
            ) from error
        assert failure is not None
        raise failure

    async def _try_keys(
        self, method: str, endpoint: str, body: bytes, deadline: float
    ) -> bytes:
        """Send with the key that worked last; if it is refused, with the other one."""
        keys = self._headers  # ``use_keys`` may replace them during the call
        first = self._live_key % len(keys)
        try:
            return await self._send(method, endpoint, body, keys[first], deadline)
        except AuthenticationError:
            if len(keys) == 1:
                raise
        # The settings take two keys at most.
        other = 1 - first
        answer = await self._send(method, endpoint, body, keys[other], deadline)
        if self._headers is keys:
            self._live_key = other
        return answer

    async def _send(
        self, method: str, endpoint: str, body: bytes, key: Headers, deadline: float
    ) -> bytes:
        limited = self._budget if endpoint == "fetch" else None
        taken = await take_turn(limited, deadline) if limited is not None else None
        response = await send(
            self._transports.current(),
            method,
            joined_url(self._url, endpoint),
            [*key, (b"Content-Length", str(len(body)).encode())],
            body,
            timeout=max(0.001, deadline - time.monotonic()),
        )
        self.server_date = response.headers.get("date")
        if limited is not None and taken is not None:
            refused = response.status == 429
            published = limits_of(response.headers, self._clock(), refused=refused)
            if published is not None:
                limited.learn(taken, published)
        answer = plain_body(response, taken=endpoint == "events")
        if response.status == 200:
            if endpoint == "events" and not is_receipt(response, answer):
                raise AnswerError("a report was answered with a page, not with JSON")
            return answer
        raise wire.parse_error(
            response.status, response.headers, answer, now=self._clock()
        )
