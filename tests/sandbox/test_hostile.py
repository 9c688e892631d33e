"""Whatever is sent, the answer is a documented one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moe_middleware.sandbox import Sandbox, sample_workspace

from ..rows import each
from .calls import ACTION, CONTEXT, Api, element

NAMES = [
    *("identifiers", "customer_id", "user_id", "visitor_id", "user_identifiers"),
    *("experience_key", "DAY_OF_THE_WEEK", "TIME_OF_THE_DAY", "USER_IP_ADDRESS"),
    *("elements", "actions", "b_id", "user_attributes", "user_timezone_offset"),
    *(*ACTION, *CONTEXT),
]
VALUES = ["alice", "homepage-banner", "Sunday", "20", "web", ACTION["action"]]

texts = st.sampled_from(VALUES) | st.text(st.characters(codec=None), max_size=5)
numbers = st.integers() | st.integers(-(10**400), 10**400) | st.floats()
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(NAMES) | texts, inner, max_size=6)
    ),
    max_leaves=20,
)
objects = st.dictionaries(st.sampled_from(NAMES), values, max_size=8)
elements = st.builds(
    lambda some, one: element(actions=[ACTION | one]) | some, objects, objects
)
bodies = values | objects | st.builds(lambda one: {"elements": [one]}, elements)

# One for all examples: what a hostile body leaves behind must do no harm either.
SANDBOX = Sandbox(replace(sample_workspace(), fetch_limit=10**9))


async def check(path: str, body: bytes) -> None:
    response = await Api(SANDBOX).send("POST", f"/v1/experiences/{path}", body)
    listed = await Api(SANDBOX).send("GET", "/_sandbox/events")

    document = response.json()
    assert response.status_code in (200, 400)
    assert listed.status_code == 200
    if response.status_code == 400:
        assert {"title", "description"} <= set(document)
        assert set(document) <= {"title", "description", "code"}
        assert all(isinstance(value, str) for value in document.values())
    elif path == "fetch":
        assert set(document) == {"experiences"}
    else:
        assert document["status"] == "success"


@pytest.mark.timeout(200)  # hundreds of calls
@given(bodies, st.sampled_from(["fetch", "events"]))
async def test_any_json_gets_a_documented_answer(body: Any, path: str) -> None:
    await check(path, json.dumps(body).encode())


@each("levels", [63, 64, 65, 1000])
async def test_any_depth_gets_a_documented_answer(levels: int) -> None:
    deep = b'{"a":' * levels + b"1" + b"}" * levels
    whole = json.dumps({"elements": [{"customer_id": "erin", "actions": [ACTION]}]})
    body = whole.replace('"erin"', '"erin", "user_attributes": %s') % deep.decode()

    for path in ("fetch", "events"):
        await check(path, body.encode())


async def test_last_of_duplicate_names_counts() -> None:
    body = b'{"experience_key": 7, "experience_key": "homepage-banner"}'

    assert (await Api(SANDBOX).fetch(body)).status_code == 200
