from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from moe_middleware import ValueSource, Visit
from moe_middleware.visitors.value_readers import SourceReader
from moe_middleware.visitors.waiting import waiting

from ..rows import each


class User:
    def __init__(self, *, is_authenticated: bool) -> None:
        self.is_authenticated = is_authenticated
        self.identity = "alice"
        self.profile = {"plan": "gold"}


async def read_text(
    source: ValueSource, visit: Visit, path_params: Mapping[str, Any]
) -> str | None:
    read = SourceReader().text(source)
    return await waiting(lambda: read(visit, path_params), lambda: 5.0)


VISIT = Visit(
    headers=[
        (b"cookie", b'customer_id=alice; quoted="a b"; empty='),
        (b"cookie", b"late=x%40y"),
        (b"x-email", b"a@b.example"),
        (b"x-email", b"second"),
    ],
    query_string=b"utm_medium=email&utm_medium=second&empty=&q=a+b%26",
    session={"user": {"id": 7}, "a.b": "dotted"},
    user=User(is_authenticated=True),
)


def greet(visit: Visit) -> str:
    return f"{visit.method} {visit.cookie('customer_id')}"


async def greet_later(visit: Visit) -> int:
    return 42


def fail(visit: Visit) -> str:
    raise RuntimeError("alice's secret")


@each(
    ("kind", "name", "text"),
    [
        ("cookie", "customer_id", "alice"),
        ("cookie", "quoted", "a b"),
        ("cookie", "empty", ""),
        ("cookie", "late", "x%40y"),
        ("cookie", "none", None),
        ("header", "X-Email", "a@b.example"),
        ("header", "none", None),
        ("query", "utm_medium", "email"),
        ("query", "empty", ""),
        ("query", "q", "a b&"),
        ("query", "none", None),
        ("path", "id", "5"),
        ("path", "flag", "true"),
        ("path", "none", None),
        ("session", "user.id", "7"),
        ("session", "a.b", "dotted"),
        ("session", "user.none.deeper", None),
        ("user", "identity", "alice"),
        ("user", "profile.plan", "gold"),
        ("value", "web", "web"),
        ("call", f"{__name__}:greet", "GET alice"),
        ("call", f"{__name__}:greet_later", "42"),
        ("call", f"{__name__}:nothing_here", None),
    ],
)
async def test_a_source_reads_its_value(kind: str, name: str, text: str | None) -> None:
    source = ValueSource.model_validate({kind: name})

    assert await read_text(source, VISIT, {"id": 5, "flag": True}) == text


async def test_a_function_that_raises_is_no_value_and_its_text_stays_out_of_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = ValueSource.model_validate({"call": f"{__name__}:fail"})

    value = await read_text(source, VISIT, {})

    assert value is None
    assert "value_failed" in caplog.text
    assert "RuntimeError" in caplog.text
    assert "secret" not in caplog.text


async def test_without_session_or_signed_in_user_there_is_no_value() -> None:
    signed_out = Visit(user=User(is_authenticated=False))
    for kind, visit in [("session", Visit()), ("user", Visit()), ("user", signed_out)]:
        source = ValueSource.model_validate({kind: "identity"})
        assert await read_text(source, visit, {}) is None


@pytest.mark.parametrize("given", [{}, {"cookie": "a", "header": "b"}])
def test_a_value_has_exactly_one_source(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="exactly one source"):
        ValueSource.model_validate(given)
