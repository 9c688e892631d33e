"""Caches that strangers share: what is made for one visitor never gets to another."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from moe_middleware.browser import SCRIPT_NAME
from moe_middleware.sandbox import Sandbox

from ..redis_servers import RedisServer, redis_server
from .conftest import MakeShop
from .doors import Answer, Headers, Shop, open_shop, page_of

KEY = "welcome-text"
PAGE = (
    """{% experience "welcome-text" as one %}<p>{{ one.Text }}</p>{% endexperience %}"""
)
ROUTES = [{"path": "/{rest:path}", "experiences": [KEY]}]
NAMES = {"alice": "Alice", "bob": "Bob"}


@pytest.fixture(autouse=True)
def greeted(sandbox: Sandbox) -> None:
    """Everybody is called by their own name."""
    for customer_id, name in NAMES.items():
        sandbox.customer(customer_id, first_name=name)
    text = "Hello {{ UserAttribute['first_name']|default('stranger') }}"
    sandbox.define(KEY, {"Text": text})


# --- caches between us and the visitor ------------------------------------------


class SharedCache:
    """A cache of a network's or a proxy's, as bold as the standards let it be.

    It heeds a header for caches like itself more than Cache-Control, by RFC 9213, the
    Edge Architecture and nginx; and ``must-understand`` more than ``no-store``. As
    some of the largest do, it knows no Vary, but for a ``*``.
    """

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._kept: dict[str, Answer] = {}

    def ask(self, path: str, headers: Headers, **given: Any) -> Answer:
        if path in self._kept:
            return self._kept[path]
        answer = self._shop.ask(path, headers=headers, **given)
        if _may_be_kept(answer) and "*" not in _joined(answer, "vary"):
            self._kept[path] = answer
        return answer


def _joined(answer: Answer, name: str) -> str:
    return ", ".join(answer.all(name))


def _may_be_kept(answer: Answer) -> bool:
    for name in ("cdn-cache-control", "edge-cdn-cache-control", "surrogate-control"):
        if targeted := _joined(answer, name).lower():
            return "no-store" not in targeted and "private" not in targeted
    if expires := _joined(answer, "x-accel-expires"):
        return expires != "0"
    directives = re.sub(
        r'"(\\.|[^"\\])*"', "", _joined(answer, "cache-control").lower()
    )
    parts = directives.split(",")
    names = [part.strip() for part in parts]
    if "private" in names or ("no-store" in names and "must-understand" not in names):
        return False
    return any(part.startswith(("public", "max-age", "s-maxage")) for part in names)


BOLD: dict[str, Headers] = {
    "nothing": [],
    "public": [("cache-control", "public, max-age=600")],
    "shared": [("cache-control", "s-maxage=600")],
    "immutable": [("cache-control", "public, max-age=31536000, immutable")],
    "one private field": [("cache-control", 'max-age=600, private="set-cookie"')],
    "in quotes": [("cache-control", 'max-age=600, x="private, no-store"')],
    "in escaped quotes": [
        ("cache-control", r'max-age=600, x="\", private, no-store, y=\""')
    ],
    "understood": [("cache-control", "must-understand, no-store, max-age=600")],
    "for networks": [("cdn-cache-control", "public, max-age=600")],
    "for one network": [("edge-cdn-cache-control", "max-age=600")],
    "for surrogates": [("surrogate-control", "max-age=600")],
    "for nginx": [("x-accel-expires", "600")],
    "until": [
        ("expires", "Fri, 01 Jan 2100 00:00:00 GMT"),
        ("cache-control", "max-age=600"),
    ],
    "by a tag": [("etag", '"one-for-all"'), ("cache-control", "max-age=600")],
    "by language": [("vary", "accept-language"), ("cache-control", "max-age=600")],
}


def test_a_page_is_never_shared(make_shop: MakeShop) -> None:
    headers: list[tuple[str, str]] = []
    shop = make_shop(page_of(PAGE, headers), routes=ROUTES)
    who = [[("cookie", f"customer_id={one}")] for one in NAMES]
    for bold, headers[:] in BOLD.items():
        cache = SharedCache(shop)

        pages = [cache.ask("/", sent).text for sent in (*who, *who, [])]

        assert [page[3:-4] for page in pages] == [
            *("Hello Alice", "Hello Bob", "Hello Alice", "Hello Bob", "Hello stranger")
        ], bold


UNKEYED = (
    *("x-forwarded-host", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-port"),
    *("x-forwarded-scheme", "x-forwarded-prefix", "x-original-url", "x-rewrite-url"),
    *("x-http-method-override", "forwarded", "x-host", "x-real-ip", "true-client-ip"),
    *("cf-connecting-ip", "accept", "accept-language", "accept-encoding", "origin"),
    *("referer", "user-agent", "range", "if-none-match", "x-requested-with", "pragma"),
    *("cache-control", "authorization", "te", "x-moe-visitor", "moe-visitor"),
)


def test_no_unkeyed_header_changes_what_others_get(make_shop: MakeShop) -> None:
    shop = make_shop(
        page_of(PAGE, BOLD["public"]), routes=ROUTES, trusted_proxies=["10.0.0.0/8"]
    )
    for name in UNKEYED:
        cache = SharedCache(shop)
        alice = [("cookie", "customer_id=alice"), (name, '"><script>evil.example')]

        poisoned = cache.ask("/", alice)
        bobs = cache.ask("/", [("cookie", "customer_id=bob")])
        strangers = cache.ask("/", [(name, '"><script>evil.example')])

        assert "evil" not in poisoned.text, name
        assert "Hello Bob" in bobs.text and "Alice" not in strangers.text, name
        assert all(strangers.all("set-cookie")) and not bobs.all("set-cookie"), name


def test_every_personal_response_says_so(make_shop: MakeShop) -> None:
    tagged = [("etag", '"x"'), ("cache-control", "public, max-age=60")]
    shop = make_shop(page_of(PAGE, tagged), routes=ROUTES)
    for method, customer, headers in itertools.product(
        ("GET", "HEAD"),
        ("alice", None),
        ([], [("if-none-match", '"x"')], [("range", "bytes=0-1")]),
    ):
        answer = shop.ask(method=method, headers=headers, customer=customer)

        assert "private" in _joined(answer, "cache-control").split(", ")
        assert "public" not in _joined(answer, "cache-control")
        assert "Cookie" in _joined(answer, "vary").split(", ")


def test_what_is_ours_alone_is_kept_by_no_cache(make_shop: MakeShop) -> None:
    shop = make_shop()
    link, mark = shop.link(), shop.mark()
    cookie = "customer_id=alice; moe_preview=forged"
    answers = [
        shop.ask(link, customer="alice"),
        shop.ask(link, method="HEAD"),
        shop.ask(f"{link}x"),
        shop.ask("/_moe/p/forged"),
        shop.ask("/_moe/p/leave", cookie=cookie),
        shop.ask("/_moe/e"),
        shop.tell(f"c {mark} 1".encode(), customer="alice"),
        shop.tell(b"x", customer="alice"),
        shop.tell(b"x", origin=[("origin", "null")]),
    ]

    for answer in answers:
        assert answer.all("cache-control") == ["no-store"]
        assert answer.get("etag") is None


def test_what_is_everybodys_is_nobodys_in_particular(shop: Shop) -> None:
    for cookie in ("customer_id=alice", "moe_visitor=x; moe_preview=x", None):
        script = shop.ask(f"/_moe/{SCRIPT_NAME}", cookie=cookie)

        assert script.get("cache-control") == "public, max-age=31536000, immutable"
        assert script.get("set-cookie") is None
        assert script.get("x-content-type-options") == "nosniff"


# --- our own caches ---------------------------------------------------------------

# Each of them is somebody else, however much they look like each other.
IDS = [
    *("alice", "Alice", "alice:", "alice|bob", "alice,bob", "alice/bob", "alice bob"),
    *("calice", "valice", "nalice", "5:alice", "b5:alicebob", "alice\u0301"),
    *("alic\u00e9", "\u0430lice", "alice%20", "alice%2520", "{alice}", "*", "?"),
    *("[a-z]", "a" * 256, "a" * 255 + "b", "a" * 255, "('alice', None)"),
    *("\\x00alice", "g:alice"),
]


@pytest.fixture(scope="module")
def redis_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(Path(tmp_path_factory.mktemp("redis"))) as server:
        yield server


@pytest.fixture(params=["memory", "redis"])
def cache(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The cache of one process, or one that all share."""
    if request.param == "memory":
        return {"ttl": 3_600}
    server: RedisServer = request.getfixturevalue("redis_of_all")
    return {"ttl": 3_600, "redis": server.url, "redis_timeout": 2}


def test_no_id_gets_the_answer_of_another(
    sandbox: Sandbox, cache: dict[str, Any]
) -> None:
    for number, one in enumerate(IDS):
        sandbox.customer(one, first_name=f"Number {number}")
    by_query = {"customer_id": {"query": "customer"}}
    given: dict[str, Any] = {"cache": cache, "routes": ROUTES, "identity": by_query}
    with (
        open_shop("asgi", page_of(PAGE), **given) as first,
        open_shop("asgi", page_of(PAGE), **given) as second,
    ):
        for shop in (first, second, first):
            for number, one in enumerate(IDS):
                page = shop.ask(query=f"customer={quote(one)}")
                assert f"<p>Hello Number {number}</p>" == page.text, one
                # A request that claims to be of this visitor is of another.
                page = shop.ask(cookie=f"moe_uuid={quote(one, safe='')}")
                assert page.text == "<p>Hello stranger</p>", one


def test_no_attribute_gets_the_answer_of_another(
    sandbox: Sandbox, cache: dict[str, Any]
) -> None:
    attributes = {name: {"query": name} for name in ("a", "b", "TIME_OF_THE_DAY")}
    given: dict[str, Any] = {"cache": cache, "attributes": attributes, "routes": ROUTES}
    values = ["1", "2", "1%26b=2", "1%00b=2", "1;b=2", "1','b':'2", "%C3%A9", "e%CC%81"]
    with open_shop("asgi", page_of(PAGE), **given) as shop:
        for name, value in itertools.product(("a", "b"), values):
            shop.ask(query=f"{name}={value}", customer="alice")
        fetches = sandbox.calls["fetch"]
        for name, value in itertools.product(("a", "b"), values):
            shop.ask(query=f"{name}={value}", customer="alice")

        # Each was asked for by itself, and once.
        assert fetches == sandbox.calls["fetch"] == 2 * len(values)


def test_no_key_gets_the_answer_of_another(
    sandbox: Sandbox, cache: dict[str, Any]
) -> None:
    keys = ["a", "b", "a:b", "a,b", "a b", "*", "a*", "{a}", "\u00e9", "e\u0301", "A"]
    for key in keys:
        sandbox.define(key, {"Text": f"the one of {key}"})
    routes = [{"path": "/", "experiences": keys}]
    template = "".join(PAGE.replace('"welcome-text"', repr(key)) for key in keys)
    given: dict[str, Any] = {"cache": cache, "routes": routes}
    for _ in range(2):
        with open_shop("asgi", page_of(template), **given) as shop:
            for _ in range(2):
                page = shop.ask(customer="alice").text
                assert page == "".join(f"<p>the one of {key}</p>" for key in keys)


async def test_who_is_asked_for_at_once_is_not_mixed_up(sandbox: Sandbox) -> None:
    from ..sites import Site, rendered

    for number in range(30):
        sandbox.customer(f"c{number}", first_name=f"Number {number}")
    site = Site(rendered(PAGE), routes=ROUTES)

    pages = await asyncio.gather(
        *(site.get(customer=f"c{number % 30}") for number in range(120))
    )

    assert [page.text for page in pages] == [
        f"<p>Hello Number {number % 30}</p>" for number in range(120)
    ]
