from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson
import pytest

from moe_middleware import Identity
from moe_middleware.browser.click_links import ClickLinks

from ..makers import CONTEXT

ALICE = Identity(customer_id="alice")
NOW = 1_725_258_666.0


def links(*secrets: str, hosts: tuple[str, ...] = (), **options: Any) -> ClickLinks:
    return ClickLinks(
        secrets or ("a secret of tests",),
        path="/_moe/c/",
        hosts=hosts,
        max_age=60,
        clock=lambda: NOW,
        **options,
    )


def made(some: ClickLinks, target: str = "/shop", identity: Identity = ALICE) -> str:
    return some.make(
        target,
        key="hero",
        b_id="Shop Now",
        context=orjson.dumps(CONTEXT),
        visitor_id=identity.reporting_id,
    )


def token(link: str) -> str:
    return link.removeprefix("/_moe/c/")


def test_a_link_says_all_that_its_event_needs() -> None:
    some = links()

    click = some.read(token(made(some)))

    assert click is not None
    assert (click.target, click.b_id) == ("/shop", "Shop Now")
    assert click.experience_context == CONTEXT
    assert click.token.expires_at == NOW + 60
    assert UUID(click.uuid).version == 4


def test_a_link_is_short() -> None:
    assert len(made(links())) < 300


@pytest.mark.parametrize(
    ("target", "href"),
    [
        ("https://partner.example/x", "https://partner.example/x"),
        ("shop", "shop"),
        ("javascript:alert(1)", "#"),
        ("//evil.example", "#"),
    ],
)
def test_what_leads_elsewhere_is_no_click_link(
    target: str, href: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert made(links(), target) == href
    assert "click_not_counted" in caplog.text
