"""A sandbox whose clock stands still, and a way to call it."""

from __future__ import annotations

import pytest

from moe_middleware.sandbox import Sandbox

from .calls import Api

NOW = 1_790_000_000.0


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox(clock=lambda: NOW)


@pytest.fixture
def api(sandbox: Sandbox) -> Api:
    return Api(sandbox)
