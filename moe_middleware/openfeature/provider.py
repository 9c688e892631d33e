"""The provider that OpenFeature's SDK asks for flags."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from functools import partialmethod
from typing import Any, TypeVar, Unpack

from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEventDetails
from openfeature.exception import (
    ErrorCode,
    GeneralError,
    InvalidContextError,
    OpenFeatureError,
)
from openfeature.flag_evaluation import FlagResolutionDetails, FlagType
from openfeature.provider import AbstractProvider, Metadata
from openfeature.track import TrackingEventDetails

from ..client.failures import advice
from ..concurrency.background_loop import background
from ..models.errors import MoEngageError
from ..models.experiences import Experiences
from ..models.reasons import Reason, Source
from ..network.breaker import State
from ..personalizer.current import current, current_experiences, on_event_loop
from ..personalizer.open_runtimes import WorkspaceKeywords, open_door, shows_keywords
from ..personalizer.runtime import Runtime
from ..settings.settings import Config
from ..telemetry.conventions import PROVIDER
from .customers import Customers, customer_of
from .flags import Flag, details, failed
from .tracking import Tracking

T = TypeVar("T")

logger = logging.getLogger(__name__)

GRACE = 1.0
"""Seconds that a thread waits for our event loop beyond the time for a fetch."""

LIST_WITHIN = 5.0
"""Seconds for the workspace's list at the start."""


class MoEngageProvider(AbstractProvider):
    """Experiences as flags: ``homepage-banner.Title`` is one value of a payload, and
    ``homepage-banner`` all of it, as an object.

    Within a request it answers from the page's experiences, without I/O. Elsewhere the
    targeting key is the customer id, and it answers from the cache, or fetches within
    ``fetch.timeout``; attributes of the context that the settings name are sent.
    Nothing counts as an impression; ``track`` reports one, or a click.

    Args:
        config: A settings file's path, a mapping of its content, or ``Settings``; by
            default the file of ``MOE_CONFIG``, else ``moe.yml``. It shares the cache
            and the outbox with a middleware of the same configuration.
        workspace: ``workspace_id``, ``api_key``, ``data_center`` and ``base_url``
            override the environment and the file.

    Raises:
        SettingsError: The configuration is wrong; it lists every mistake.
    """

    @shows_keywords
    def __init__(
        self,
        config: Config = None,
        **workspace: Unpack[WorkspaceKeywords],
    ) -> None:
        super().__init__()
        open_door(self, config, **workspace)
        self._customers = Customers(self)
        self._tracking = Tracking(self, self._customers)
        self._is_ready = False

    runtime: Runtime

    def get_metadata(self) -> Metadata:
        return Metadata(PROVIDER)

    # --- its life --------------------------------------------------------------

    def initialize(self, evaluation_context: EvaluationContext) -> None:
        """List the workspace's experiences, so that a wrong key or address shows now.

        Raises:
            GeneralError: They cannot be listed. Evaluations go on, and the provider is
                ready with the first answer.
        """
        watchers = self.runtime.fetcher.watchers
        if self._breaker_changed not in watchers:
            watchers.append(self._breaker_changed)
        try:
            background.run(self._customers.list_keys(), LIST_WITHIN)
        except (MoEngageError, TimeoutError) as error:
            workspace = self.runtime.settings.workspace
            about = advice(workspace, error) if isinstance(error, MoEngageError) else ""
            raise GeneralError(f"{type(error).__name__}: {about}") from error
        self._is_ready = True

    def shutdown(self) -> None:
        """Deliver waiting events, within ``events.shutdown_timeout``, and let go."""
        watchers = self.runtime.fetcher.watchers
        if self._breaker_changed in watchers:
            watchers.remove(self._breaker_changed)
        timeout = self.runtime.settings.events.shutdown_timeout
        background.run(self._stop(), timeout + 2 * GRACE)

    async def _stop(self) -> None:
        await self._tracking.end()
        await self.runtime.stop()

    def _breaker_changed(self, state: State) -> None:
        """Emit the provider's event for a breaker that opens or closes."""
        reason = self.runtime.fetcher.breaker.reason
        if state is State.CLOSED:
            self._become_ready()
        elif state is State.OPEN and self._is_ready:
            self._is_ready = False
            about = ProviderEventDetails(message=f"no calls are made: {reason}")
            if reason is Reason.UNAUTHORIZED:
                self.emit_provider_error(about)
            else:
                # The answer in the cache stands in.
                self.emit_provider_stale(about)

    def _become_ready(self) -> None:
        if not self._is_ready:
            self._is_ready = True
            self.emit_provider_ready(ProviderEventDetails())

    # --- evaluations -----------------------------------------------------------

    def _resolve(
        self,
        kind: FlagType,
        flag_key: str,
        default_value: T,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[T]:
        """Return a flag's value; it raises nothing."""
        asked = kind, flag_key, default_value
        try:
            page = page_of(evaluation_context)
            if page is None:
                timeout = self.runtime.settings.fetch.timeout + LIST_WITHIN + GRACE
                answer = self._of_customer(*asked, evaluation_context)
                return background.run(answer, timeout)
            # On a loop nothing may block: the default has the reason "not ready".
            if page.pending and not on_event_loop():
                page.ready_sync()
            return self._on_page(*asked, page)
        except Exception as error:
            return _failed(default_value, error)

    async def _resolve_async(
        self,
        kind: FlagType,
        flag_key: str,
        default_value: T,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[T]:
        """Do the same in async code."""
        asked = kind, flag_key, default_value
        try:
            page = page_of(evaluation_context)
            if page is None:
                answer = self._of_customer(*asked, evaluation_context)
                return await _on_own_loop(answer)
            if page.pending:
                await page.ready()
            return self._on_page(*asked, page)
        except Exception as error:
            return _failed(default_value, error)

    # The SDK calls one of these for each type of value.
    resolve_boolean_details = partialmethod(_resolve, FlagType.BOOLEAN)
    resolve_string_details = partialmethod(_resolve, FlagType.STRING)
    resolve_integer_details = partialmethod(_resolve, FlagType.INTEGER)
    resolve_float_details = partialmethod(_resolve, FlagType.FLOAT)
    resolve_object_details = partialmethod(_resolve, FlagType.OBJECT)
    resolve_boolean_details_async = partialmethod(_resolve_async, FlagType.BOOLEAN)
    resolve_string_details_async = partialmethod(_resolve_async, FlagType.STRING)
    resolve_integer_details_async = partialmethod(_resolve_async, FlagType.INTEGER)
    resolve_float_details_async = partialmethod(_resolve_async, FlagType.FLOAT)
    resolve_object_details_async = partialmethod(_resolve_async, FlagType.OBJECT)

    def _on_page(
        self, kind: FlagType, key: str, default: T, page: Experiences
    ) -> FlagResolutionDetails[T]:
        flag = Flag.of(key, {*page, *self._customers.keys})
        found, knows = page[flag.key], self._customers.knows(flag.key)
        return details(flag, found, kind, default, knows)

    async def _of_customer(
        self, kind: FlagType, key: str, default: T, context: EvaluationContext | None
    ) -> FlagResolutionDetails[T]:
        flag = Flag.of(key, self._customers.keys)
        found = await self._customers.ask(flag.key, context)
        if not found and found.reason is Reason.NO_MATCH:
            await self._customers.look_for(flag.key)
        is_answer = bool(found) or found.source is not Source.FALLBACK
        if is_answer and self.runtime.fetcher.breaker.state is State.CLOSED:
            self._become_ready()
        return details(flag, found, kind, default, self._customers.knows(flag.key))

    # --- events ----------------------------------------------------------------

    def track(
        self,
        tracking_event_name: str,
        evaluation_context: EvaluationContext | None = None,
        tracking_event_details: TrackingEventDetails | None = None,
    ) -> None:
        """Report an impression or a click of an experience, through the outbox.

        Args:
            tracking_event_name: ``impression`` or ``click``, or MoEngage's own names
                of these events. MoEngage's API takes no others.
            evaluation_context: Its targeting key is the customer; within a request it
                may be left out.
            tracking_event_details: The attribute ``key`` is the flag's; ``b_id`` the
                clicked element, as in ``"Shop Now"``.
        """
        given = tracking_event_details
        attributes = given.attributes if given is not None else {}
        try:
            page = page_of(evaluation_context)
            self._tracking.track(
                tracking_event_name, attributes, evaluation_context, page
            )
        except OpenFeatureError as error:
            logger.warning("track_refused: %s", error.error_message)


def page_of(context: EvaluationContext | None) -> Experiences | None:
    """Return the current request's experiences; None outside of a request.

    Raises:
        InvalidContextError: The targeting key is another customer than the page's.
    """
    if current.get() is None:
        return None
    page, wanted = current_experiences(), customer_of(context)
    customer_id = page.identity.customer_id
    if wanted is not None and customer_id is not None and wanted != customer_id:
        raise InvalidContextError(
            "the targeting key is another customer than this request's, whose "
            "experiences are all that a page has: leave it out, or ask outside of the "
            "request"
        )
    return page


async def _on_own_loop(answer: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine on our own event loop, whichever one the caller's is."""
    return await asyncio.wrap_future(
        asyncio.run_coroutine_threadsafe(answer, background.loop)
    )


def _failed(default: T, error: Exception) -> FlagResolutionDetails[T]:
    if isinstance(error, OpenFeatureError):
        return failed(default, error.error_code, error.error_message or "")
    # The error's text may contain an id.
    logger.error("evaluation_failed error=%s", type(error).__name__)
    logger.debug("evaluation_failed", exc_info=error)
    return failed(default, ErrorCode.GENERAL, type(error).__name__)
