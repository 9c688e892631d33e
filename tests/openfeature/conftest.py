"""The SDK's client, with our provider behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient

from moe_middleware.openfeature import MoEngageProvider

from ..sites import settings

NewClient = Callable[..., OpenFeatureClient]


@pytest.fixture
def new_client() -> Iterator[NewClient]:
    """Makes clients of new providers; the SDK's state is as before afterwards."""

    def make(provider: Any = None, **sections: Any) -> OpenFeatureClient:
        made = provider or MoEngageProvider(config=settings(**sections))
        api.set_provider_and_wait(made)
        return api.get_client()

    yield make
    api.clear_providers()
    api.clear_hooks()
