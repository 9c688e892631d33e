from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson
import pytest

from moe_middleware import Identity
from moe_middleware.browser.click_links import PURPOSE, ClickLinks
from moe_middleware.browser.tokens import Tokens

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


def test_another_workspaces_link_leads_on_and_is_no_visitors_here() -> None:
    """Two brands that share a secret, and a visitor with one id at both."""
    tea, coffee = (links(workspace_id=name) for name in ("tea", "coffee"))

    click = coffee.read(token(made(tea)))

    assert click is not None
    assert click.target == "/shop"
    assert tea.is_of(click, ALICE)
    assert not coffee.is_of(click, ALICE)


def test_each_link_has_a_uuid_of_its_own_and_keeps_it() -> None:
    some = links()
    first, second = (token(made(some)) for _ in range(2))

    uuids = [getattr(some.read(one), "uuid", None) for one in (first, second, first)]

    assert uuids[0] == uuids[2] != uuids[1]


def test_a_link_is_short() -> None:
    assert len(made(links())) < 300


def test_it_tells_whose_page_it_was_on() -> None:
    some = links()
    click = some.read(token(made(some)))

    assert click is not None
    assert some.is_of(click, ALICE)
    assert not some.is_of(click, Identity(customer_id="bob"))
    assert not some.is_of(click, Identity())


def test_after_a_rotation_older_links_are_still_read_and_known_to_be_whose() -> None:
    old, new = "the older secret", "the newer secret"
    link = token(made(links(old)))

    click = links(new, old).read(link)

    assert click is not None
    assert links(new, old).is_of(click, ALICE)
    assert links(new).read(link) is None


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


def test_a_host_that_is_allowed_is_led_to() -> None:
    some = links(hosts=("Partner.example",))

    click = some.read(token(made(some, "https://partner.example/x?y#z")))

    assert click is not None
    assert click.target == "https://partner.example/x?y#z"


def test_what_is_signed_but_no_link_is_none() -> None:
    ours = Tokens(["a secret of tests"], PURPOSE, fields=1, head_size=28)
    forged = ours.make(["/shop"], bytes(28))

    assert links().read(forged) is None
