from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moe_middleware import Action, Event, Identity, Reason, Source
from moe_middleware.client import event_reports, wire
from moe_middleware.models.errors import (
    AnswerError,
    APIError,
    AuthenticationError,
    InvalidRequestError,
    RateLimitedError,
)

from ..makers import CONTEXT, event
from ..rows import each

ALICE = Identity(
    customer_id="alice", visitor_id="v1", user_identifiers={"u_em": "a@b.example"}
)
VISITOR = Identity(visitor_id="v1")


def body(
    identity: Identity, dialect: wire.Dialect, keys: tuple[str, ...] = ("hero",)
) -> Any:
    return orjson.loads(
        wire.fetch_body(
            keys, identity=identity, attributes={"utm_medium": "email"}, dialect=dialect
        )
    )


def answer(payload: Any, context: Any = CONTEXT, key: str = "hero") -> bytes:
    return orjson.dumps(
        {"experiences": {key: {"payload": payload, "experience_context": context}}}
    )


NESTED = {"customer_id": "alice", "user_identifiers": {"u_em": "a@b.example"}}


@pytest.mark.parametrize(
    ("dialect", "identity", "ids"),
    [
        ("identifiers", ALICE, {"identifiers": NESTED}),
        ("flat", ALICE, {"customer_id": "alice"}),
        ("both", ALICE, {"identifiers": NESTED, "customer_id": "alice"}),
        ("identifiers", VISITOR, {}),
        ("flat", VISITOR, {"visitor_id": "v1"}),
        ("both", VISITOR, {"visitor_id": "v1"}),
    ],
)
def test_fetch_body_says_the_ids_in_the_dialect(
    dialect: wire.Dialect, identity: Identity, ids: dict[str, Any]
) -> None:
    expected = {"experience_key": ["hero"], "utm_medium": "email", **ids}

    assert body(identity, dialect) == expected


def test_fetch_body_without_keys_asks_for_everything() -> None:
    assert "experience_key" not in body(ALICE, "both", keys=())


@pytest.mark.parametrize(("count", "sizes"), [(0, [0]), (25, [25]), (51, [25, 25, 1])])
def test_keys_are_cut_into_fetches_of_25(count: int, sizes: list[int]) -> None:
    keys = [f"key-{number}" for number in range(count)]

    chunks = wire.split_keys(keys)

    assert [len(chunk) for chunk in chunks] == sizes
    assert [key for chunk in chunks for key in chunk] == keys


@each(
    ("data_type", "value", "native", "text"),
    [
        ("string", "Sale", "Sale", "Sale"),
        ("string", 15, "15", "15"),
        ("string", True, "true", "true"),
        ("string", [1], [1], "[1]"),
        ("number", 15, 15, "15"),
        ("number", "15", 15, "15"),
        ("number", "-3", -3, "-3"),
        ("number", "1.5", 1.5, "1.5"),
        ("number", "many", "many", "many"),
        ("float", "0.5", 0.5, "0.5"),
        ("float", 1, 1.0, "1"),
        ("boolean", True, True, "true"),
        ("boolean", "False", False, "False"),
        ("boolean", "maybe", "maybe", "maybe"),
        ("json", '{"a": [1]}', {"a": [1]}, '{"a": [1]}'),
        ("json", {"a": [1]}, {"a": [1]}, '{"a":[1]}'),
        ("json", "{broken", "{broken", "{broken"),
        ("offering", "x", "x", "x"),
        ("string", None, None, "null"),
    ],
)
def test_payload_values_are_unwrapped_by_data_type(
    data_type: str, value: Any, native: Any, text: str
) -> None:
    wrapped = answer({"it": {"value": value, "data_type": data_type}})

    [as_native] = wire.parse_experiences(wrapped)
    [as_text] = wire.parse_experiences(wrapped, values="text")

    assert as_native["it"] == native
    assert type(as_native["it"]) is type(native)
    assert as_text["it"] == text


@pytest.mark.parametrize("levels", [300, 1_000])
@pytest.mark.parametrize("place", ["payload", "experience_context"])
def test_what_could_never_be_written_out_again_is_a_bad_answer(
    levels: int, place: str
) -> None:
    good = '"payload": {"Title": {"value": "Sale"}}, "experience_context": {"a": 1}'
    deep = '{"a":' * levels + "1" + "}" * levels
    bad = f'{good}, "{place}": {deep}'
    body = f'{{"experiences": {{"bad": {{{bad}}}, "good": {{{good}}}}}}}'

    found = {one.key: one for one in wire.parse_experiences(body.encode())}

    assert found["bad"].reason is Reason.BAD_ANSWER
    assert found["good"]["Title"] == "Sale"


def test_deep_json_in_a_text_stays_a_text() -> None:
    deep = "[" * 300 + "]" * 300
    wrapped = answer({"it": {"value": deep, "data_type": "json"}})

    [experience] = wire.parse_experiences(wrapped)

    assert experience["it"] == deep


def test_experience_context_is_kept_whole() -> None:
    context = {**CONTEXT, "something_new": {"nested": [1, None]}}

    [experience] = wire.parse_experiences(answer({}, context))

    assert experience.experience_context == context
    assert experience
    assert experience.source is Source.API


@pytest.mark.parametrize("given_", [{}, {"payload": {}}, {"payload": None}])
def test_an_empty_payload_is_no_match(given_: dict[str, Any]) -> None:
    [experience] = wire.parse_experiences(
        orjson.dumps({"experiences": {"hero": given_}})
    )

    assert not experience
    assert experience.reason is Reason.NO_MATCH


def test_a_key_that_the_answer_leaves_out_is_no_match() -> None:
    found = wire.parse_experiences(answer({"a": "plain"}), ["hero", "other"])

    assert [(one.key, one.reason) for one in found] == [
        ("hero", None),
        ("other", Reason.NO_MATCH),
    ]
    assert found[0]["a"] == "plain"


@pytest.mark.parametrize(
    "given_", ["text", [1], {"payload": [1], "experience_context": {}}]
)
def test_an_experience_of_another_shape_is_a_bad_answer(given_: Any) -> None:
    [experience] = wire.parse_experiences(
        orjson.dumps({"experiences": {"hero": given_}})
    )

    assert experience.reason is Reason.BAD_ANSWER
    assert experience.source is Source.FALLBACK


@pytest.mark.parametrize(
    "answered", [b"", b"<html>", b"[]", b"{}", b'{"experiences": []}', b"\xff", b"NaN"]
)
def test_an_answer_of_another_shape_raises(answered: bytes) -> None:
    with pytest.raises(AnswerError):
        wire.parse_experiences(answered)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON, JSON)
def test_no_answer_breaks_the_parser(payload: Any, context: Any) -> None:
    [experience] = wire.parse_experiences(answer(payload, context))

    assert experience.key == "hero"
    assert bool(experience) is (experience.reason is None)


@each(
    "experiences",
    [
        *("abc", 5, {"a": 1}, [None], [[]], [{"key": 1}]),
        [{"experience_key": ["x"], "status": {}}],
    ],
)
def test_metadata_of_another_shape_raises(experiences: Any) -> None:
    with pytest.raises(AnswerError, match=r"another shape|no list"):
        wire.parse_metadata(orjson.dumps({"metadata": {"experiences": experiences}}))


def test_an_impression_becomes_the_documented_action() -> None:
    shown = event("alice", user_timezone_offset=19800)

    [element] = orjson.loads(event_reports.events_body([shown]))["elements"]

    assert element == {
        "customer_id": "alice",
        "user_timezone_offset": 19800,
        "actions": [
            {
                "action": "MOE_PERSONALIZATION_MESSAGE_SHOWN",
                "moe_event_uuid": shown.uuid,
                "event_time": 1_725_258_666,
                "platform": "web",
                "attributes": CONTEXT,
            }
        ],
    }


def test_a_click_carries_its_b_id_on_the_action_and_in_the_attributes() -> None:
    clicked = event(action=Action.CLICK, b_id="Shop Now")

    [element] = orjson.loads(event_reports.events_body([clicked]))["elements"]

    [action] = element["actions"]
    assert action["action"] == "MOE_PERSONALIZATION_MESSAGE_CLICKED"
    assert action["b_id"] == "Shop Now"
    assert action["attributes"] == {**CONTEXT, "b_id": "Shop Now"}
    assert "b_id" not in CONTEXT


def test_actions_of_one_user_share_an_element_in_order() -> None:
    events = [event("alice"), event("bob"), event("alice")]

    elements = orjson.loads(event_reports.events_body(events))["elements"]

    assert [element["customer_id"] for element in elements] == ["alice", "bob"]
    uuids = [action["moe_event_uuid"] for action in elements[0]["actions"]]
    assert uuids == [events[0].uuid, events[2].uuid]


def test_user_attributes_of_one_user_stay_with_their_event() -> None:
    events = [event("alice"), event("alice", user_attributes={"name": "Alice"})]

    elements = orjson.loads(event_reports.events_body(events))["elements"]

    assert [element.get("user_attributes") for element in elements] == [
        None,
        {"name": "Alice"},
    ]


def test_batches_hold_100_users_however_many_events_these_have() -> None:
    events = [event(f"user-{number % 150}") for number in range(300)]

    cut = event_reports.batches(events)

    assert [one for batch in cut for one in batch] == events
    assert all(len({one.customer_id for one in batch}) <= 100 for batch in cut)
    assert len(cut) == 3


def test_an_event_beyond_the_limit_is_a_report_of_its_own() -> None:
    long = {"name": "x" * event_reports.MAX_REPORT_BYTES}
    events = [event("alice"), event("bob", user_attributes=long), event("carl")]

    cut = event_reports.batches(events)

    assert cut == [[events[0]], [events[1]], [events[2]]]


@pytest.mark.parametrize(
    "one",
    [
        event("x" * 3_000, platform="android", user_timezone_offset=-54_000),
        event(action=Action.CLICK, b_id="Shop Now" * 500),
        event(user_attributes={"name": "Alice", "points": list(range(1_000))}),
    ],
    ids=["long id", "click", "attributes"],
)
def test_no_event_takes_more_bytes_than_it_is_given_room_for(one: Event) -> None:
    events = [replace(one, customer_id=f"{one.customer_id}{n}") for n in range(200)]

    cut = event_reports.batches(events)

    bodies = [event_reports.events_body(batch) for batch in cut]
    assert [one for batch in cut for one in batch] == events
    assert len(bodies) <= 2 * sum(map(len, bodies)) / event_reports.MAX_REPORT_BYTES
    assert all(len(body) <= event_reports.MAX_REPORT_BYTES for body in bodies)


def error(status: int, envelope: Any = None, **headers: str) -> APIError | AnswerError:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return wire.parse_error(status, named, orjson.dumps(envelope), now=1000.0)


@each(
    ("status", "envelope", "kind", "retryable"),
    [
        (400, {"title": "Invalid Field Value"}, InvalidRequestError, False),
        (400, {"title": "Request Error"}, AuthenticationError, False),
        (401, {"title": "Authentication required"}, AuthenticationError, False),
        (403, None, AuthenticationError, False),
        (404, None, APIError, False),
        (408, None, APIError, True),
        (413, None, InvalidRequestError, False),
        (429, None, RateLimitedError, True),
        (500, ["not an envelope"], APIError, True),
        (503, {"title": 5}, APIError, True),
        (302, None, AnswerError, True),
    ],
)
def test_every_status_becomes_its_error(
    status: int, envelope: Any, kind: type[Exception], retryable: bool
) -> None:
    raised = error(status, envelope)

    assert type(raised) is kind
    assert raised.retryable is retryable


def test_an_error_keeps_the_texts_of_the_envelope() -> None:
    envelope = {
        "title": "Invalid Field Value",
        "description": "why",
        "code": "GvHogFKc",
    }

    raised = error(400, envelope)

    assert isinstance(raised, APIError)
    assert (raised.title, raised.description, raised.code) == tuple(envelope.values())
    assert str(raised) == "400 Invalid Field Value: why"


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "86400"}, 60.0),
        ({"x_ratelimit_reset": "30"}, 30.0),
        ({"retry_after": "soon", "x_ratelimit_reset": "30"}, 30.0),
        ({"x_ratelimit_reset": "never"}, None),
        ({}, None),
    ],
)
def test_a_rate_limit_says_how_long_to_wait(
    headers: dict[str, str], wait: float | None
) -> None:
    raised = error(429, None, **headers)

    assert isinstance(raised, RateLimitedError)
    assert raised.retry_after == wait
