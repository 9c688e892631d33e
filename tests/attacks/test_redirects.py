"""Open redirects: what a page can be brought to link to, and where its links lead."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import pytest
from markupsafe import escape

from moe_middleware.models.urls import NOWHERE

from .conftest import MakeShop
from .doors import Shop, page_of

HOSTS = ["partner.example", "xn--bcher-kva.example", "*.shops.example", "[::1]"]
LINK = """{% experience "homepage-banner" as one -%}
<a href="{{ one.click_url(target, "Link") }}">{% endexperience %}"""
LINKS = """{% experience "homepage-banner" as one -%}{% for target in targets -%}
<a href="{{ one.click_url(target, "Link") }}">{% endfor %}{% endexperience %}"""
AROUND = [" ", "\n", "\r\n\t ", "\u00a0", "\u200b", "\ufeff", "\u2028", "\x00"]

Target = TypeVar("Target", bound=Hashable)

# None of these may ever come out of a redirect of ours, nor stand in a page as a link
# that a browser would run or take for another host than it shows.
NOWHERE_AT_ALL = [
    "//evil.example",
    "///evil.example",
    "////evil.example/%2e%2e",
    "/\\evil.example",
    "\\/evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "/\r\n/evil.example",
    "/\x0b/evil.example",
    "\x00//evil.example",
    "\u2028//evil.example",
    "\u200b//evil.example",
    "\ufeffjavascript:alert(1)",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java\nscript:alert(1)",
    "javascript\t:alert(1)",
    "\x1bjavascript:alert(1)",
    "javascript://%0aalert(1)",
    "javascript://partner.example/%0aalert(1)",
    "view-source:javascript:alert(1)",
    "feed:javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "data:text/html;base64,PHNjcmlwdD4=",
    "vbscript:msgbox(1)",
    "blob:https://partner.example/x",
    "file:///etc/passwd",
    "filesystem:http://partner.example/x",
    "intent://evil#Intent;scheme=javascript;end",
    "https://partner.example@evil.example/",
    "https://partner.example:443@evil.example/",
    "https://:@evil.example/",
    "https://partner.example%40evil.example@evil.example/",
    "https://user:password@partner.example/",
    "https://@partner.example/",
    "https://evil.example\\@partner.example/",
    "https://evil.example\\.partner.example/",
    "https://evil.example\uff0f@partner.example/",
    "https://evil.example\uff03@partner.example/",
    "https://evil.example\uff1f.partner.example/",
    "https:evil.example",
    "https:/evil.example",
    "http:///evil.example",
    "https:partner.example@evil.example",
    "http:user:password@evil.example",
    "https://[::1",
    "https://*.shops.example@evil.example/",
    "https://[partner.example]/",
    "/shop\r\nset-cookie: a=b",
    "/shop\nlocation: https://evil.example",
    # A browser reads this in a page whose template does not escape.
    "javascript&colon;alert(1)",
    "java&#115;cript:alert(1)",
    "&#x6A;avascript:alert(1)",
    "&#0000106avascript:alert(1)",
    "java&Tab;script:alert(1)",
    "&amp;#106;avascript:alert(1)",
    "&#1;javascript:alert(1)",
    "&nbsp;javascript:alert(1)",
    "https://partner.example&commat;evil.example/",
    "&sol;&sol;evil.example",
    "&bsol;/evil.example",
    "mocha:alert(1)",
    "livescript:alert(1)",
    "jar:javascript:alert(1)!/",
    "myapp:javascript:alert(1)",
    "ftp://user@evil.example/",
    "https://partner.example%2f@evil.example",
    "/\u202eshop",
    "/shop\ud800",
]

# A browser follows these links of a page, but we do not count and lead there.
PLAIN_ALONE = [
    "",
    "shop",
    "../shop",
    "?next=//evil.example",
    "#//evil.example",
    "https://evil.example",
    "https://partner.example.evil.example/",
    "https://evilpartner.example/",
    "https://shops.example/",
    "https://evilshops.example/",
    "https://one.shops.example.evil.example/",
    "https://[::2]/",
    "https://partner.example./",
    "https://partner。example/",
    "https://partner%2eexample/",
    "https://partner.example%00.evil.example/",
    "https://evil.example?partner.example",
    "https://evil.example#partner.example",
    "https://evil.example;partner.example",
    "https://\uff50artner.example/",
    "https://bücher.example/",
    "https://xn--partner-.example/",
    # Blanks within and long links are no danger.
    "/" + "x" * 2_000,
    "https://partner.example/" + "x" * 2_000,
    "mailto:x@evil.example",
    "MAILTO:x@evil.example?subject=Tea%20for%20two",
    "tel:+49-30-123456",
    "sms:+4930123456;?body=hi",
    "whatsapp://send?text=a@b.example",
    "myapp://product/1?data=2",
    "market://details?id=example.tea",
    "magnet:?xt=urn:btih:0",
    "urn:isbn:0451450523",
    "https://evil.example/@user",
    "https://evil.example/a?b=javascript:c",
    "?a=1&copy=2",
    "http://2130706433/",
    "http://0x7f.1/",
    "http://[::ffff:127.0.0.1]/",
]

# Encoded once more than meant: no browser takes these for another host.
OWN_PATHS = [
    "/%2f%2fevil.example",
    "/%2fevil.example",
    "/%5cevil.example",
    "/%5c%5cevil.example",
    "/%255cevil.example",
    "/%252f%252fevil.example",
    "/%09/evil.example",
    "/%0d%0aset-cookie:%20a=b",
    "/%e5%98%8a%e5%98%8dset-cookie:a=b",
    "/%E2%80%A8",
    "/.//evil.example",
    "/..//evil.example",
    "/;//evil.example",
    "/x/..//evil.example",
    "/@evil.example",
    "/:80//evil.example",
    "/javascript:alert(1)",
    "/\uff1fevil.example",
    "/\uff0fevil.example",
    "/shop?next=//evil.example",
    "/shop?a=b&c=%0d%0ad#https://evil.example",
    "/嘊嘍set-cookie:a=b",
    "/<script>alert(1)</script>",
    "/\"'><script>",
    "/%",
    "/%zz",
    "/{{7*7}}",
]


def hrefs_of(shop: Shop) -> list[str]:
    """Return what the links of its page say."""
    page = shop.ask(customer="alice").text
    assert page.startswith('<a href="') and page.endswith('">'), page
    return page.removeprefix('<a href="').removesuffix('">').split('"><a href="')


def shown_for(
    make_shop: MakeShop, targets: Sequence[Target]
) -> tuple[Shop, dict[Target, str]]:
    """Return a site whose page links to many targets, and what each link says."""
    page = page_of(LINKS, targets=targets)
    shop = make_shop(page, clicks={"hosts": HOSTS})
    return shop, dict(zip(targets, hrefs_of(shop), strict=True))


def led_to(make_shop: MakeShop, targets: Sequence[str]) -> dict[str, str]:
    """Return where the click links of these targets lead."""
    shop, hrefs = shown_for(make_shop, targets)
    assert [one for one in hrefs.values() if not one.startswith("/_moe/c/")] == []
    answers = {
        target: shop.ask(href, customer="alice") for target, href in hrefs.items()
    }
    assert {one.status for one in answers.values()} == {302}
    assert {len(one.all("location")) for one in answers.values()} == {1}
    return {target: one.get("location") or "" for target, one in answers.items()}


def test_what_runs_or_hides_its_host_is_in_no_page(make_shop: MakeShop) -> None:
    _, hrefs = shown_for(make_shop, NOWHERE_AT_ALL)

    assert {target: one for target, one in hrefs.items() if one != NOWHERE} == {}


def test_what_is_elsewhere_is_a_plain_link(make_shop: MakeShop) -> None:
    _, hrefs = shown_for(make_shop, PLAIN_ALONE)

    assert hrefs == {target: escape(target) for target in PLAIN_ALONE}


def test_what_an_editor_leaves_around_a_link_is_no_part_of_it(
    make_shop: MakeShop,
) -> None:
    given = {
        before + target + after: target
        for target in ("/shop", "https://partner.example/x")
        for around in AROUND
        for before, after in (("", around), (around, ""), (around, around))
    }

    assert led_to(make_shop, [*given]) == given


def test_a_path_of_the_site_stays_one(make_shop: MakeShop) -> None:
    for target, location in led_to(make_shop, OWN_PATHS).items():
        assert location.isascii() and location.isprintable(), target
        assert " " not in location, target
        assert location.startswith("/"), target
        assert location[1:2] not in ("/", "\\"), target
        # Encoded once and no more: what was encoded already did not change.
        assert unquote(location) == unquote(target)
        if target.isascii() and not set(target) & set("<>\"'{}"):
            assert location == target


def test_an_allowed_host_is_the_one_that_is_led_to(make_shop: MakeShop) -> None:
    targets = {
        "https://partner.example": HOSTS[0],
        "https://PARTNER.example:8443/?q=//evil.example#https://evil.example": HOSTS[0],
        "http://partner.example/%2f%2fevil.example": HOSTS[0],
        "https://xn--bcher-kva.example/@evil.example": HOSTS[1],
        "https://partner.example/\u0441": HOSTS[0],
        "https://one.shops.example/": "one.shops.example",
        "https://a.b.shops.example:8443": "a.b.shops.example",
        "http://[::1]:8000/x": "::1",
    }

    for target, location in led_to(make_shop, [*targets]).items():
        assert urlsplit(location).hostname == targets[target], target
        assert location.isascii() and "@" not in urlsplit(location).netloc, target


def test_a_target_that_is_no_text_or_not_there_breaks_no_page(
    make_shop: MakeShop,
) -> None:
    targets: list[object] = [5, 0.5, None, True, [], {}, b"/shop", ["/shop"]]
    page = page_of(LINKS, targets=targets)
    missing = page_of(LINK.replace("target", "one['No such value']"))

    assert hrefs_of(make_shop(page)) == [NOWHERE] * len(targets)
    assert hrefs_of(make_shop(missing)) == [NOWHERE]


@pytest.mark.parametrize("secret_key", [None, "a secret key of the attacks"])
def test_without_a_secret_and_without_a_match_it_is_the_same(
    make_shop: MakeShop, secret_key: str | None
) -> None:
    targets: list[str | None] = ["//evil.example", "javascript:alert(1)", None]
    links = "{% for one in targets %}{{ found['no-such-key'].click_url(one) }} "
    page = page_of(links + "{% endfor %}", targets=targets)

    answer = make_shop(page, secret_key=secret_key).ask()

    assert answer.text.split() == [NOWHERE] * 3


def test_a_host_is_not_taken_from_the_request(make_shop: MakeShop) -> None:
    hosts = [("host", "evil.example"), ("x-forwarded-host", "evil.example")]
    shop = make_shop(page_of(LINK, target="https://evil.example/"))
    page = shop.ask(customer="alice", headers=hosts)
    usual = make_shop()
    answer = usual.ask(usual.link(), customer="alice", headers=hosts)

    assert page.text == '<a href="https://evil.example/">'
    assert answer.get("location") == "/shop"


def test_a_link_that_would_be_too_long_to_read_is_a_plain_one(
    make_shop: MakeShop,
) -> None:
    # A text that compresses badly makes a token that is too long.
    noise = "".join(chr(0x4E00 + (n * 7919) % 20_000) for n in range(2_000))
    readable, too_long = f"/{noise[:499]}", f"/{noise}"

    shop, hrefs = shown_for(make_shop, [readable, too_long])

    assert hrefs[too_long] == too_long
    assert shop.ask(hrefs[readable], customer="alice").get("location")


# --- where a site is mounted ------------------------------------------------------

MOUNTED = """{% experience "homepage-banner" as one -%}
<a href="{{ one.click_url("/shop", "Link") }}"></a>
{%- endexperience %}{{ moe_script() }}{{ moe_web_sdk("promo-strip") }}"""


# How the site's own paths begin, by the prefix where the server says it is mounted.
MOUNTS = {
    "": "/_moe/",
    "/shops/1": "/shops/1/_moe/",
    "/tea shop": "/tea%20shop/_moe/",
    "//evil.example": "/_moe/",
    "///evil.example": "/_moe/",
    "/\\evil.example": "/%5Cevil.example/_moe/",
    "https://evil.example": "/_moe/",
    "javascript:alert(1)": "/_moe/",
    "/\t/evil.example": "/%09/evil.example/_moe/",
    "/x\r\nset-cookie: a=b": "/x%0D%0Aset-cookie:%20a=b/_moe/",
    '/"><script>': "/%22%3E%3Cscript%3E/_moe/",
}


@pytest.mark.parametrize("door", ["asgi", "wsgi"])
def test_no_mount_point_leads_elsewhere(make_shop: MakeShop, door: str) -> None:
    shop = make_shop(page_of(MOUNTED))
    for clicks, (prefix, begins) in enumerate(MOUNTS.items(), start=1):
        shop.mount(prefix)

        page = shop.ask(customer="alice").text

        found = re.findall(r' (?:href|src)="(.*?)"', page)
        assert len(found) == 3
        assert all(link.startswith(begins) for link in found), found
        answer = shop.ask(f"/_moe/{found[0].partition('/_moe/')[2]}", customer="alice")
        location = answer.get("location") or ""
        assert location.endswith("/shop"), prefix
        assert not location.startswith(("//", "http")), prefix
        assert shop.clicks == clicks
