from __future__ import annotations

from uuid import UUID

import orjson
import pytest

from moe_middleware.browser.click_links import ClickLinks

from ..makers import CONTEXT

NOW = 1_725_258_666.0


def links() -> ClickLinks:
    return ClickLinks(
        ["a secret of tests"],
        path="/_moe/c/",
        hosts=(),
        max_age=60,
        clock=lambda: NOW,
    )


def made(some: ClickLinks, target: str = "/shop") -> str:
    context = orjson.dumps(CONTEXT)
    return some.make(
        target, key="hero", b_id="Shop Now", context=context, visitor_id="alice"
    )


def test_a_link_is_short_and_says_all_that_its_event_needs() -> None:
    some = links()
    link = made(some)
    click = some.read(link.removeprefix("/_moe/c/"))

    assert len(link) < 300
    assert click is not None
    assert (click.target, click.b_id) == ("/shop", "Shop Now")
    assert click.experience_context == CONTEXT
    assert click.token.expires_at == NOW + 60
    assert UUID(click.uuid).version == 4


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
