"""One test for a whole table: a loop that reports every row that fails.

For tables of plain values: a parametrised test costs pytest more than such a row. Rows
that need a fixture, or leave something behind, are parametrised.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any

import pytest

Test = Callable[..., Any]


def each(names: str | Sequence[str], rows: Iterable[Any]) -> Callable[[Test], Test]:
    """Call a test, sync or async, with each of these rows.

    Args:
        names: The names of the test's parameters; with one name, a row is its value.
        rows: The values of each call.
    """

    def decorate(test: Test) -> Test:
        table = list(_named(names, rows))

        def run() -> None:
            failed = Failures()
            for row in table:
                with failed.of(row):
                    test(**row)
            failed.tell()

        async def arun() -> None:
            failed = Failures()
            for row in table:
                with failed.of(row):
                    called: Awaitable[None] = test(**row)
                    await called
            failed.tell()

        made: Any = arun if inspect.iscoroutinefunction(test) else run
        made.__name__, made.__doc__ = test.__name__, test.__doc__
        # Where pytest says that the test is.
        made.place_as = test
        return made  # type: ignore[no-any-return]

    return decorate


def _named(
    names: str | Sequence[str], rows: Iterable[Any]
) -> Iterator[dict[str, object]]:
    for row in rows:
        if isinstance(names, str):
            yield {names: row}
        else:
            yield dict(zip(names, row, strict=True))


class Failures:
    """The rows that failed."""

    def __init__(self) -> None:
        self._errors: list[BaseException] = []
        self._row: dict[str, object] = {}

    def of(self, row: dict[str, object]) -> Failures:
        self._row = row
        return self

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        # The failure of pytest.raises is no Exception.
        if not isinstance(error, Exception | pytest.fail.Exception):
            return False
        error.add_note(f"row: {self._row!r}")
        self._errors.append(error)
        return True

    def tell(self) -> None:
        if self._errors:
            raise BaseExceptionGroup("rows failed", self._errors)
