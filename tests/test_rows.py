from __future__ import annotations

import pytest

from .rows import each


def test_each_row_that_fails_is_reported_and_the_others_are_run() -> None:
    seen: list[tuple[int, str]] = []

    @each(("number", "text"), [(1, "a"), (2, "b"), (3, "c")])
    def test(number: int, text: str) -> None:
        seen.append((number, text))
        assert number == 2

    with pytest.raises(BaseExceptionGroup) as caught:
        test()

    notes = [one.__notes__ for one in caught.value.exceptions]
    assert seen == [(1, "a"), (2, "b"), (3, "c")]
    assert notes == [
        ["row: {'number': 1, 'text': 'a'}"],
        ["row: {'number': 3, 'text': 'c'}"],
    ]


async def test_an_async_test_and_one_that_raises_nothing_are_reported_too() -> None:
    @each("text", ["a"])
    async def test(text: str) -> None:
        with pytest.raises(ValueError, match=text):
            pass

    with pytest.raises(BaseExceptionGroup) as caught:
        await test()

    assert len(caught.value.exceptions) == 1
