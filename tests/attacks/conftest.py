"""The site behind each door, for tests that take them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from moe_middleware.sandbox import Sandbox

from .doors import DOORS, Render, Shop, open_shop, page_of

MakeShop = Callable[..., Shop]


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> str:
    """The name of a door; a test that wants it runs once for each."""
    name: str = request.param
    return name


@pytest.fixture
def make_shop(door: str, sandbox: Sandbox) -> Iterator[MakeShop]:
    """Open sites behind that door."""
    with ExitStack() as stack:

        def make(render: Render | None = None, **sections: Any) -> Shop:
            return stack.enter_context(open_shop(door, render or page_of(), **sections))

        yield make


@pytest.fixture
def shop(make_shop: MakeShop) -> Shop:
    """The site with its usual page."""
    return make_shop()
