"""Header games: what requests forge, and what could break a response's own."""

from __future__ import annotations

import re
from typing import Any

from moe_middleware.browser.preview_links import COOKIE

from .conftest import MakeShop
from .doors import Answer, Headers, Shop, page_of

UUID = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
)
MINTED = "0b6e1a52-7c53-4f4e-9d0e-6b7a1c2d3e4f"
MARKER = "forged-by-mallory"

# Not all of it gets past a server's own parser; what does must not come out again.
HOSTILE = [
    MARKER,
    f"x\r\nset-cookie: {MARKER}=1",
    f"x\nset-cookie: {MARKER}=1",
    f"x\r\n\r\n<script>{MARKER}</script>",
    f"x\0{MARKER}",
    f"x%0d%0aset-cookie:%20{MARKER}=1",
    f"x\u00e5\u0098\u008a{MARKER}",
    f"\x1b]0;{MARKER}\x07",
    f'"><script>{MARKER}</script>',
    f"{MARKER}; Path=/; Domain=evil.example",
    f"{MARKER}," * 900,
]
PLACES = (
    *("user-agent", "referer", "origin", "accept", "x-forwarded-for", "forwarded"),
    *("x-forwarded-host", "x-forwarded-proto", "sec-purpose", "purpose", "sec-gpc"),
    *("x-request-id", "x-original-url", "if-none-match", "range", "accept-language"),
)
COOKIES = ("customer_id", "moe_visitor", "moe_uuid", "moe_device", COOKIE, "moe_dis")


def check_is_whole(answer: Answer) -> None:
    """Check that a response is one response, with nothing of anybody's invention."""
    for name, value in answer.headers:
        assert name.isprintable() and value.isprintable(), (name, value)
        assert MARKER not in name and MARKER not in value, (name, value)
    assert MARKER not in answer.text
    for cookie in answer.all("set-cookie"):
        name, _, rest = cookie.partition("=")
        value, *flags = [part.strip().lower() for part in rest.split(";")]
        assert name in ("moe_visitor", COOKIE)
        assert UUID.fullmatch(value) or value in ("", '""')
        assert {"httponly", "samesite=lax", "path=/"} <= {*flags}
        assert not [flag for flag in flags if flag.startswith("domain")]


def all_answers(shop: Shop, headers: Headers = (), **given: Any) -> list[Answer]:
    link, mark = shop.link(), shop.mark()
    own = [("sec-fetch-site", "same-origin")]
    return [
        shop.ask("/", headers=headers, **given),
        shop.ask("/", method="HEAD", headers=headers, **given),
        shop.ask(link, headers=headers, **given),
        shop.ask("/_moe/p/leave", headers=headers, **given),
        shop.ask("/_moe/p/forged", headers=headers, **given),
        shop.ask(
            "/_moe/e",
            method="POST",
            headers=[*own, *headers],
            body=f"c {mark} 1".encode(),
            **given,
        ),
    ]


def test_no_header_and_no_cookie_gets_into_a_response(shop: Shop) -> None:
    for value in HOSTILE:
        for answer in all_answers(shop, [(name, value) for name in PLACES]):
            check_is_whole(answer)
        # Of a customer, and of a visitor who is not known.
        for names in (COOKIES, COOKIES[1:]):
            cookie = "; ".join(f"{name}={value}" for name in names)
            for answer in all_answers(shop, cookie=cookie):
                check_is_whole(answer)


def test_no_path_gets_into_a_response(shop: Shop) -> None:
    for value in HOSTILE:
        for path in (
            f"/_moe/c/{value}",
            f"/_moe/p/{value}",
            f"/_moe/c{value}",
            f"/{value}",
        ):
            check_is_whole(shop.ask(path, query=f"next={MARKER}"))


# What else is no id of ours, tests/visitors/test_ids.py has.
FORGED = ["alice", MINTED.upper(), f"{MINTED}0", "a" * 100_000, f"{MINTED}, {MINTED}"]


def test_a_forged_visitor_cookie_is_nobodys(shop: Shop) -> None:
    for number, forged in enumerate(FORGED, start=1):
        page = shop.ask(cookie=f"moe_visitor={forged}")

        # The visitor is a new one, with a cookie that we wrote.
        [cookie] = page.all("set-cookie")
        check_is_whole(page)
        assert len(shop.events) == number
        customer_id = shop.events[-1].customer_id
        assert customer_id == cookie.partition("=")[2].partition(";")[0]
        assert customer_id not in (forged, MINTED)
    # One of ours is known again.
    assert shop.ask(cookie=f"moe_visitor={MINTED}").all("set-cookie") == []
    assert shop.events[-1].customer_id == MINTED


def test_a_stranger_says_nothing_about_their_connection(make_shop: MakeShop) -> None:
    shop = make_shop(trusted_proxies=["10.0.0.0/8", "127.0.0.1"])
    https = [("x-forwarded-proto", "https")]
    for headers in (
        https,
        [("x-forwarded-proto", "https,http")],
        [("forwarded", "proto=https;for=127.0.0.1")],
        [("x-forwarded-ssl", "on")],
        [("front-end-https", "on")],
        [*https, ("x-forwarded-for", "127.0.0.1")],
    ):
        [cookie] = shop.ask(headers=headers).all("set-cookie")
        assert "secure" not in cookie.lower(), headers

    trusting = make_shop(trusted_proxies=["203.0.113.0/24"])
    assert "secure" in trusting.ask(headers=https).all("set-cookie")[0].lower()


def test_no_nonce_breaks_out(make_shop: MakeShop) -> None:
    shop = make_shop(page_of("{{ found.script(nonce) }}", nonce='x" src=/a\r\nb: c'))

    page = shop.ask(customer="alice").text

    assert page.count('src="') == 1 and 'src="/_moe/' in page
    assert re.fullmatch(r'<script src="[^"<>]*" defer nonce="[^"<>]*"></script>', page)
