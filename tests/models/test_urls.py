from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moe_middleware.models.urls import NOWHERE, harmless, leads_to

from ..rows import each

HOSTS = {"partner.example", "*.shops.example", "[::1]"}

GOOD = ["/", "/shop", "/shop?a=b&c=//d#e", "/a:b", "/%2f%2fevil", "/tee/grün"]
ALLOWED = [
    "https://partner.example/x",
    "http://partner.example",
    "https://PARTNER.example:8443/?q",
    "https://one.shops.example/",
    "https://a.b.shops.example:8443",
    "http://[::1]:8000/x",
]
EVIL = [
    "",
    "shop",
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    " /shop",
    "/shop\x00",
    "https://evil.example",
    "https:evil.example",
    "https:///evil.example",
    "https://partner.example@evil.example",
    "https://partner.example:x@evil.example/",
    "https://evil.example#partner.example",
    "https://partner.example.evil.example",
    "https://[::1",
    "https://[::2]/",
    "https://shops.example/",
    "https://evilshops.example/",
    "https://one.shops.example.evil.example/",
    "https://*.shops.example@evil.example/",
    "javascript:alert(1)",
    "JavaScript:alert(1)",
    "java\tscript:alert(1)",
    "data:text/html,x",
    "vbscript:x",
    "ftp://partner.example",
    "/" + "x" * 2_000,
]


@each("target", [*GOOD, *ALLOWED])
def test_paths_and_allowed_hosts_are_led_to(target: str) -> None:
    assert leads_to(target, HOSTS)


@each("target", EVIL)
def test_nothing_else_is(target: str) -> None:
    assert not leads_to(target, HOSTS)


@pytest.mark.parametrize("target", ALLOWED)
def test_without_hosts_only_paths_are(target: str) -> None:
    assert not leads_to(target)


@each(
    "target",
    [*GOOD, *ALLOWED, "shop", "../shop", "#top", "?q=1", "https://evil.example"],
)
def test_what_a_page_may_hold_stays_as_it_is(target: str) -> None:
    assert harmless(target) == target


@each(
    "target",
    [
        "javascript:alert(1)",
        "JAVASCRIPT:alert(1)",
        "java\tscript:alert(1)",
        "\x01javascript:alert(1)",
        " javascript:alert(1)",
        "data:text/html,<script>",
        "vbscript:x",
        "//evil.example",
        "/\\evil.example",
    ],
)
def test_what_runs_or_misleads_is_replaced(target: str) -> None:
    assert harmless(target) == NOWHERE


@given(st.text(max_size=30))
def test_what_is_led_to_within_the_site_has_no_host_for_a_browser(text: str) -> None:
    target = f"/{text}"
    if leads_to(target):
        assert not target.startswith(("//", "/\\"))
        assert not any(letter in target for letter in "\t\r\n\\")
