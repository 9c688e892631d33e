"""Experiences of a customer without a request, from the cache, else by a fetch."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import InvalidContextError, TargetingKeyMissingError

from ..cache.keys import key_of_ids
from ..models.errors import MoEngageError
from ..models.experience import Experience
from ..models.usable_ids import usable_id
from ..personalizer.open_runtimes import Door
from ..personalizer.runtime import Runtime
from ..visitors.session_attributes import variants
from ..visitors.visitor import NO_VISIT, Visitor

logger = logging.getLogger(__name__)

LIST_AFTER = 10.0
"""Seconds between two listings of the workspace, for keys that it does not have."""


class Customers:
    """Answers for customers, as the pages of the same configuration do.

    Args:
        door: The provider, whose runtime tests exchange.
    """

    def __init__(self, door: Door) -> None:
        self._door = door
        # A test's runtime has another workspace, with other keys.
        self._listed: WeakKeyDictionary[Runtime, Mapping[str, str]]
        self._listed = WeakKeyDictionary()
        self._listed_at = 0.0

    @property
    def _statuses(self) -> Mapping[str, str] | None:
        return self._listed.get(self._door.runtime)

    @property
    def keys(self) -> frozenset[str]:
        """The workspace's experience keys, as last listed."""
        return frozenset(self._statuses or ())

    def knows(self, key: str) -> bool:
        """Whether the workspace has a key; True as long as it was never listed."""
        return self._statuses is None or key in self._statuses

    async def list_keys(self) -> None:
        """List the workspace's experiences.

        Raises:
            MoEngageError: It cannot be listed.
        """
        runtime = self._door.runtime
        self._listed_at = runtime.personalizer.stopwatch()
        listed = await runtime.client.metadata()
        self._listed[runtime] = {one.key: one.status for one in listed}

    async def look_for(self, key: str) -> None:
        """List again if a key is unknown and the list is some seconds old."""
        since = self._door.runtime.personalizer.stopwatch() - self._listed_at
        # A typo in a flag key must not cost a call at each evaluation.
        if key not in self.keys and since >= LIST_AFTER:
            try:
                await self.list_keys()
            except MoEngageError as error:
                logger.info("keys_not_listed error=%s", type(error).__name__)

    async def ask(self, key: str, context: EvaluationContext | None) -> Experience:
        """Return a customer's experience.

        Raises:
            TargetingKeyMissingError: The context names no customer.
            InvalidContextError: Its customer id is invalid.
        """
        runtime, engine = self._door.runtime, self._door.runtime.personalizer
        visitor = self._visitor(context)
        timeout = runtime.settings.fetch.timeout
        pending = engine.ask((key,), visitor, NO_VISIT, timeout=timeout)
        await pending.wait(timeout)
        [found] = pending.found or pending.late
        engine.note((found,), visitor.reporting_id)
        return found

    def _visitor(self, context: EvaluationContext | None) -> Visitor:
        customer_id = customer_of(context)
        if customer_id is None:
            raise TargetingKeyMissingError(
                "outside of a request the targeting key names the customer: give "
                "EvaluationContext(targeting_key=...)"
            )
        settings = self._door.runtime.settings
        given = context.attributes if context is not None else {}
        wanted = settings.attribute_names
        texts = {name: _text(given[name]) for name in given if name in wanted}
        named = {name: text for name, text in texts.items() if text is not None}
        vary, now = settings.cache.vary, self._door.runtime.personalizer.clock()
        of_key = [name for name in named if vary is None or name in vary]
        variant, last = variants({name: named[name] for name in of_key}, now)
        return Visitor(
            customer_id=customer_id,
            visitor_id=None,
            user_identifiers={},
            is_new=False,
            attributes=named,
            key=key_of_ids(customer_id, None, {}),
            variant=variant,
            last_variant=last,
            reporting_id=customer_id,
        )


def customer_of(context: EvaluationContext | None) -> str | None:
    """Return the customer that a context names; None without one.

    Raises:
        InvalidContextError: The targeting key is no customer id.
    """
    given = context.targeting_key if context is not None else None
    if given is None or given == "":
        return None
    customer_id = usable_id(str(given), by_anyone=False)
    if customer_id is None:
        raise InvalidContextError(
            "the targeting key is no customer id: give a printable text of 256 "
            "characters at most"
        )
    return customer_id


def _text(value: Any) -> str | None:
    """Return an attribute as the API takes it; None if it is no plain value."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int | float) and value != "" else None
