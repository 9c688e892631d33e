"""What comes out of the client is JSON that every encoder takes, and stays the same."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import JSONResponse

from moe_middleware import (
    Experience,
    Identity,
    MoEngageClient,
    Reason,
    Settings,
    Source,
)
from moe_middleware.cache import MemoryCache
from moe_middleware.cache.encoding import decode, encode
from moe_middleware.cache.keys import variant_key, visitor_key
from moe_middleware.client.wire import parse_experiences
from moe_middleware.models.errors import AnswerError
from moe_middleware.models.json_texts import MAX_DEPTH

from ..makers import CONTEXT
from ..rows import each

WHO = visitor_key(Identity(customer_id="u1"))
SPLIT = variant_key({})


def braced(members: Iterable[str]) -> str:
    return "{" + ",".join(members) + "}"


# --- JSON as text, for what no encoder would write --------------------------

numbers = st.one_of(
    st.integers().map(str),
    st.integers(-(2**70), 2**70).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(2, 60).map("9".__mul__),
    st.integers(300, 500).map("1e{}".format),
    st.sampled_from(["NaN", "Infinity", "-Infinity", "-0", "-0.0", "1e-400", "1e22"]),
)
texts = st.one_of(
    st.text(max_size=8).map(json.dumps),
    st.sampled_from([r'"\ud800"', r'"\udc00\ud800"', r'"\u0000"', '"[1, [NaN]]"']),
    numbers.map(json.dumps),
    st.integers(1, 1_200).map(lambda depth: json.dumps("[" * depth + "]" * depth)),
)
scalars = st.one_of(st.sampled_from(["null", "true", "false"]), numbers, texts)
values = st.recursive(
    st.one_of(scalars, st.integers(1, 400).map(lambda n: "[" * n + "]" * n)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda some: f"[{','.join(some)}]"),
        # The same name twice is no mistake of the test's.
        st.lists(st.tuples(st.sampled_from(['"a"', '"b"', '"value"']), inner)).map(
            lambda some: braced(f"{name}:{one}" for name, one in some)
        ),
    ),
    max_leaves=6,
)
types = st.sampled_from(
    ["string", "number", "boolean", "json", "float", "Number", "x", ""]
)
wrapped = st.one_of(
    values,
    st.tuples(values, types).map('{{"value":{0[0]},"data_type":"{0[1]}"}}'.format),
)
payloads = st.dictionaries(st.sampled_from("abc"), wrapped, max_size=3).map(
    lambda some: braced(f'"{name}":{one}' for name, one in some.items())
)
contexts = st.one_of(st.just(json.dumps(CONTEXT)), values)
answers = st.tuples(payloads, contexts).map(
    '{{"experiences":{{"hero":{{"payload":{0[0]},"experience_context":{0[1]}}}}}}}'.format
)


def read(answer: str, values: Any = "native") -> Experience | None:
    """Return what a page gets of an answer; None where all of it is of no use."""
    try:
        (experience,) = parse_experiences(answer.encode(), ["hero"], values=values)
    except AnswerError:
        return None
    return experience


@given(answer=answers, values=st.sampled_from(["native", "text"]))
def test_every_answer_is_json_and_the_cached_page_is_the_first_page(
    answer: str, values: Any
) -> None:
    experience = read(answer, values)
    if experience is None:
        return

    if values == "text":
        assert all(isinstance(value, str) for value in experience.payload.values())

    page = {"page": [dict(experience.payload), dict(experience.experience_context)]}
    assert json.loads(json.dumps(page, allow_nan=False)) == page
    assert orjson.loads(orjson.dumps(page)) == page
    assert json.loads(bytes(JSONResponse(page).body)) == page

    if experience.source is Source.API:
        cache = MemoryCache(ttl=60, stale=60, max_entries=10, max_bytes=100_000)
        cache.put(WHO, SPLIT, [experience])
        kept = cache.get(WHO, SPLIT, ["hero"])
        shared = decode("hero", encode(experience), Source.CACHE)
        for one in [*kept, shared]:
            assert same(one.payload, experience.payload)
            assert same(one.experience_context, experience.experience_context)


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, and of the same types: True is no 1."""
    return repr(one) == repr(other)


@each(
    ("data_type", "given_value", "expected"),
    [
        ("number", "12", 12),
        ("number", " 12 ", 12),
        ("number", "-1.5e3", -1500.0),
        ("number", "9" * 30, "9" * 30),
        ("number", "9" * 5000, "9" * 5000),
        ("number", "1_000", "1_000"),
        ("number", "٣", "٣"),
        ("number", "nan", "nan"),
        ("number", "1e400", "1e400"),
        ("number", str(2**64 - 1), 2**64 - 1),
        ("number", str(2**64), str(2**64)),
        ("float", "inf", "inf"),
        ("float", "3", 3.0),
        ("float", 3, 3.0),
        ("float", True, True),
        ("json", "NaN", "NaN"),
        ("json", "[1e400]", "[1e400]"),
        ("json", "[" * 300 + "]" * 300, "[" * 300 + "]" * 300),
        ("json", '{"a": [1]}', {"a": [1]}),
        ("boolean", "TRUE", True),
        ("string", 12.5, "12.5"),
    ],
)
def test_a_value_that_does_not_fit_its_type_stays_as_it_came(
    data_type: str, given_value: Any, expected: Any
) -> None:
    payload = {"a": {"value": given_value, "data_type": data_type}}
    body = {"hero": {"payload": payload, "experience_context": CONTEXT}}

    experience = read(json.dumps({"experiences": body}))

    assert experience is not None
    assert same(experience.payload["a"], expected)


def client(body: bytes) -> MoEngageClient:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=body)

    return MoEngageClient(
        Settings(workspace_id="W1", api_key="K1"),
        transport=lambda: httpx.MockTransport(answer),
    )


@pytest.mark.parametrize("where", ["payload", "experience_context"])
@pytest.mark.parametrize("depth", [MAX_DEPTH, 253, 254, 255, 900])
async def test_what_is_nested_too_deep_costs_its_own_key_alone(
    where: str, depth: int, caplog: pytest.LogCaptureFixture
) -> None:
    deep = {"payload": {"a": 1}, "experience_context": CONTEXT}
    deep[where] = {"a": orjson.loads("[" * depth + "]" * depth)}
    good = {"payload": {"a": 1}, "experience_context": CONTEXT}
    body = json.dumps({"experiences": {"deep": deep, "good": good}}).encode()
    made = client(body)

    with caplog.at_level(logging.WARNING):
        first = await made.fetch(["deep", "good"])
        await made.fetch(["deep", "good"])

    assert first["deep"].reason is Reason.BAD_ANSWER
    assert first["good"].payload == {"a": 1}
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(":")[0] for line in lines] == ["experience_unusable key=deep"]


async def test_an_answer_of_ten_thousand_experiences_is_read_for_the_wanted_ones() -> (
    None
):
    one = '{"payload":{"a":1},"experience_context":{"c":1}}'
    many = ",".join(f'"key-{number}":{one}' for number in range(6_000))
    made = client(f'{{"experiences":{{{many}}}}}'.encode())

    fetched = await made.fetch(["key-7", "other"])

    assert list(fetched) == ["key-7", "other"]
    assert fetched["key-7"].payload == {"a": 1}
    with pytest.raises(AnswerError, match="6000 experiences"):
        await made.fetch()


@pytest.mark.parametrize("unit", ["[]", "{}", "1", '{"a":[]}'])
async def test_more_values_than_a_parser_takes_at_once_are_refused(unit: str) -> None:
    body = f'{{"experiences":{{}},"more":[{",".join([unit] * 110_000)}]}}'

    with pytest.raises(AnswerError, match="too many values"):
        await client(body.encode()).fetch(["hero"])


@pytest.mark.parametrize("body", [b"5", b"[1]", b"[1,2]", b"[{},{},{}]", b'"ab"'])
def test_bytes_that_a_shared_cache_has_from_others_are_none_of_ours(
    body: bytes,
) -> None:
    with pytest.raises(ValueError, match="no encoded experience"):
        decode("hero", body, Source.CACHE)
