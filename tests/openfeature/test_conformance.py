"""The rules of OpenFeature's conformance suite for providers, in a table.

Each row is evaluated by the SDK's own in-memory provider as well, so that the table
says what the SDK does. Two things differ, by what MoEngage is: a value's reason is
``TARGETING_MATCH`` or ``CACHED``, as every answer is for one customer; and outside of a
request the targeting key is needed (Fetch Experience has no other way to name one).
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagEvaluationDetails, Reason
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider
from starlette.requests import Request
from starlette.responses import Response

from moe_middleware.sandbox import Sandbox

from ..sites import Site
from .conftest import NewClient

VALUES: dict[str, Any] = {
    "boolean": True,
    "string": "hi",
    "integer": 10,
    "float": 0.5,
    "integral": 10.0,
    "large": 2_147_483_647,
    "huge": 9_007_199_254_740_991,
    "false": False,
    "zero": 0,
    "empty": "",
    "object": {"showImages": True, "title": "Pictures", "imagesPerPage": 100},
    "list": [1, 2],
}
KEY = "canonical"
MISMATCH, NOT_FOUND = ErrorCode.TYPE_MISMATCH, ErrorCode.FLAG_NOT_FOUND

GOOD = [
    ("boolean", "boolean", False),
    ("string", "string", "bye"),
    ("integer", "integer", 1),
    ("float", "float", 0.1),
    # A falsy value is a value.
    ("boolean", "false", True),
    ("integer", "zero", 1),
    ("string", "empty", "fallback"),
    # Nothing is lost.
    ("integer", "large", 1),
    ("integer", "huge", 1),
    ("object", "object", {}),
    ("object", "list", []),
]
WRONG = [
    *(("boolean", flag, False, MISMATCH) for flag in ("string", "integer", "float")),
    *(("string", flag, "x", MISMATCH) for flag in ("boolean", "integer", "float")),
    *(("float", flag, 0.1, MISMATCH) for flag in ("string", "boolean", "object")),
    *(("integer", flag, 1, MISMATCH) for flag in ("string", "object")),
    *((("boolean", "object", False, MISMATCH), ("string", "object", "x", MISMATCH))),
    # It is not narrowed silently.
    ("integer", "float", 1, MISMATCH),
    ("object", "string", {}, MISMATCH),
    ("string", "missing", "fallback", NOT_FOUND),
]
OURS = [
    # The SDK takes a boolean for an integer; the conformance suite does not.
    ("integer", "boolean", 1, MISMATCH),
]
ALICE = EvaluationContext("alice")


@pytest.fixture
def canonical(sandbox: Sandbox) -> None:
    sandbox.define(KEY, VALUES)


def in_memory() -> InMemoryProvider:
    flags = {
        f"{KEY}.{name}": InMemoryFlag("on", {"on": value})
        for name, value in VALUES.items()
    }
    return InMemoryProvider(flags)


@pytest.mark.usefixtures("canonical")
@pytest.mark.parametrize("how", ["sync", "async"])
def test_values_and_errors_are_those_of_the_conformance_suite(
    new_client: NewClient, how: str
) -> None:
    client = new_client()

    def evaluated(kind: str, flag: str, default: Any) -> FlagEvaluationDetails[Any]:
        get = getattr(client, f"get_{kind}_details{'_async' * (how == 'async')}")
        found: Any = get(f"{KEY}.{flag}", default, ALICE)
        return asyncio.run(found) if how == "async" else found

    for kind, flag, default in GOOD:
        found, value = evaluated(kind, flag, default), VALUES[flag]
        assert found.value == value and type(found.value) is type(value), flag
        assert (found.error_code, found.error_message) == (None, None)
        assert found.reason in (Reason.TARGETING_MATCH, Reason.CACHED)
        assert found.variant
    for kind, flag, default, code in [*WRONG, *OURS]:
        found = evaluated(kind, flag, default)
        assert (found.value, found.error_code) == (default, code), (kind, flag)
        assert found.reason == Reason.ERROR
        assert found.error_message
    # The table is the SDK's as well.
    new_client(in_memory())
    for kind, flag, default in GOOD:
        assert evaluated(kind, flag, default).value == VALUES[flag]
    for kind, flag, default, code in WRONG:
        assert evaluated(kind, flag, default).error_code == code


@pytest.mark.usefixtures("canonical")
@pytest.mark.parametrize("how", ["sync", "async"])
async def test_the_same_holds_within_a_request_without_a_call(
    sandbox: Sandbox, new_client: NewClient, how: str
) -> None:
    client, seen = new_client(), []

    async def handler(request: Request) -> Response:
        for kind, flag, default in GOOD:
            get = getattr(client, f"get_{kind}_value{'_async' * (how == 'async')}")
            value = get(f"{KEY}.{flag}", default)
            seen.append((await value if how == "async" else value) == VALUES[flag])
        return Response()

    site = Site(handler, routes=[{"path": "/", "experiences": [KEY]}])
    await site.get(customer="alice")

    assert seen == [True] * len(GOOD)


@pytest.mark.usefixtures("canonical")
def test_the_whole_of_an_experience_is_an_object(new_client: NewClient) -> None:
    client = new_client()

    assert client.get_object_value(KEY, {}, ALICE) == VALUES
    found = client.get_boolean_details(KEY, False, ALICE)
    assert (found.value, found.error_code) == (False, MISMATCH)
    whole = {"of": "the app"}
    assert client.get_float_value(f"{KEY}.integer", 0.1, ALICE) == 10.0
    assert client.get_integer_value(f"{KEY}.integral", 1, ALICE) == 10
    assert client.get_object_value(f"{KEY}.nothing", whole, ALICE) == whole
