"""Click links under Django: the middleware answers them by itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.http import HttpResponse  # type: ignore[import-untyped]

from moe_middleware import Action

from .sites import Site
from .urls import KEY

SECRET = "a secret key of these tests"


def linking(request: Any) -> Any:
    """Answer with a link that counts."""
    return HttpResponse(request.experiences[KEY].click_url("/shop", "Shop Now"))


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_signed_in_users_click_counts_and_leads_on(
    site: Callable[..., Site], mode: str
) -> None:
    shop = site(linking, secret_key=SECRET, fetch={"timeout": 5})
    shop.sign_in("alice")
    link = shop.get().content.decode()

    followed = async_to_sync(shop.aget)(link) if mode == "async" else shop.get(link)

    assert re.fullmatch(r"/_moe/c/[\w.-]+", link)
    assert followed.status_code == 302
    assert followed["location"] == "/shop"
    assert followed["cache-control"] == "no-store"
    [click] = shop.events
    assert (click.action, click.b_id) == (Action.CLICK, "Shop Now")
