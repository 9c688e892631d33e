"""The sandbox's workspace: customers, audiences, experiences, limits. Pure values."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from .faults import Fault
from .geography import NOWHERE, Geography
from .rules import Rule
from .schedules import Schedule, Status, status_at

TEST_SUFFIX = "_DEBUG"
"""The suffix of the workspace id for TEST data, as in the dashboard's sample call."""

FETCH_LIMIT = 10_000
"""Fetches a minute that MoEngage allows a workspace by default."""

ACTIVE_LIMIT = 20
"""Experiences that MoEngage allows a workspace to have Active by default."""

MAX_DEPTH = 64
"""The deepest nesting of a document: more cannot be encoded again."""

_CID_TOKEN = re.compile(r"[0-9a-f]{24}")


class DataType(StrEnum):
    """The types that a payload value may have."""

    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"
    JSON = "json"
    FLOAT = "float"


@dataclass(frozen=True, slots=True)
class Value:
    """One payload value as native JSON, and the type that is sent with it."""

    value: Any
    data_type: DataType = DataType.STRING


@dataclass(frozen=True, slots=True, kw_only=True)
class Variation:
    """One arm of an A/B test.

    Attributes:
        variation_id: Sent as ``moe_variation_id``.
        payload: The payload values by name.
        percent: Its share of the audience, 0 to 100.
        name: The name, for people.
        locales: By language, as in ``pt``, the values that replace some of the
            payload's.
    """

    variation_id: str
    payload: Mapping[str, Value]
    percent: float = 100.0
    name: str = ""
    locales: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """Visitors with the same variations; an audience without rules is All Users.

    Attributes:
        audience_id: Short and alphanumeric, as in ``5A``.
        name: Sent as ``audience_name``.
        variations: The variations, at least one; their percentages add up to 100.
        rules: The rules, which must all hold.
    """

    audience_id: str
    name: str
    variations: tuple[Variation, ...]
    rules: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        total = sum(variation.percent for variation in self.variations)
        # Thirds of 100 do not add up exactly.
        if abs(total - 100) > 0.01:
            raise ValueError(
                f"Audience {self.name!r}: the variations add up to {total:g} percent, "
                "not to 100."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlGroup:
    """Users who get nothing, to compare others with.

    Attributes:
        percent: The share of all users, 0 to 100, chosen by a hash.
        customer_ids: Customers who always belong to it.
    """

    percent: float = 0.0
    customer_ids: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A custom segment: customers by their ids, by a rule, or both."""

    name: str
    customer_ids: frozenset[str] = frozenset()
    rule: Rule | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """An experience. The first audience in the list that matches is used.

    Attributes:
        key: The experience key.
        name: Sent as ``experience`` in the context.
        cid_token: 24 hex digits that never change; all cids of the experience begin
            with them.
        audiences: The audiences in order of priority.
        status: The status; only Active experiences are fetched.
        schedule: The schedule that the status follows; None for none.
        control_group: The experience's own control group.
        global_control_group: Whether the workspace's control group applies, too.
        locales: The languages of variations, as in ``("pt", "de")``; the first one is
            sent as ``moe_locale_id`` 1, and 0 means none of them.
    """

    key: str
    name: str
    cid_token: str
    audiences: tuple[Audience, ...]
    status: Status = Status.ACTIVE
    schedule: Schedule | None = None
    control_group: ControlGroup = ControlGroup()
    global_control_group: bool = True
    locales: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _CID_TOKEN.fullmatch(self.cid_token):
            raise ValueError(
                f"Experience {self.key!r}: cid_token is {self.cid_token!r}, "
                "not 24 hex digits in lower case."
            )

    def status_at(self, now: float) -> Status:
        """Return the effective status at a time, in unix seconds."""
        return status_at(self.status, self.schedule, now)


def cid_token_of(key: str) -> str:
    """Return the cid_token of an experience that has none of its own."""
    return hashlib.sha256(key.encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """A known customer's profile.

    Attributes:
        customer_id: The brand's own id.
        attributes: The attributes for audiences.
        identifiers: The identifiers for Identity Resolution, as in ``{"u_em": ...}``.
    """

    customer_id: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    identifiers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Everything that is configured in a sandbox.

    Attributes:
        name: The name, for people.
        workspace_id: The user name of every call.
        api_keys: The passwords that work; two while a key rotates.
        timezone: The app's, for reports and for dates without one of their own.
        customers: The profiles known from the start.
        segments: The custom segments.
        control_group: The global one.
        geography: Where IP addresses are.
        experiences: In the order in which a fetch without keys returns them.
        faults: The faults at the start.
        identity_resolution: Whether user_identifiers find a customer.
        fetch_limit: Fetches allowed within one minute.
        active_limit: Active experiences allowed in a workspace file.
        strict: Whether to accept only calls that the newest documents allow.
        test_app_key: Whether the app key with ``_DEBUG`` at its end is known.
        flat_ids: Whether customer_id, user_id and visitor_id count at the top level
            of a fetch, as in the older documents.
        iso_event_time: Whether event_time may be ISO 8601 text.
        millisecond_event_time: Whether event_time may be in milliseconds.
        unknown_app_is_401: Whether an unknown app key is answered 401, as in the
            older documents, instead of 400.
        values_as_text: Whether numbers, booleans and JSON go out as text.
        paused_as_empty_payload: Whether a fetch of a Paused or Scheduled experience
            answers ``{"payload": {}}`` instead of leaving the key out.
        strict_platform: Whether an unknown event platform is refused instead of
            stored as ``Unknown``.
    """

    name: str = "Sandbox"
    workspace_id: str = "sandbox"
    api_keys: tuple[str, ...] = ("sandbox-key",)
    timezone: str = "UTC"
    customers: tuple[Customer, ...] = ()
    segments: tuple[Segment, ...] = ()
    control_group: ControlGroup = ControlGroup()
    geography: Geography = NOWHERE
    experiences: tuple[Experience, ...] = ()
    faults: tuple[Fault, ...] = ()
    identity_resolution: bool = True
    fetch_limit: int = FETCH_LIMIT
    active_limit: int = ACTIVE_LIMIT
    strict: bool = False
    test_app_key: bool = True
    flat_ids: bool = True
    iso_event_time: bool = True
    millisecond_event_time: bool = True
    unknown_app_is_401: bool = False
    values_as_text: bool = False
    paused_as_empty_payload: bool = False
    strict_platform: bool = False
