"""Games with the paths that we answer ourselves, and with headers that rename them."""

from __future__ import annotations

from moe_middleware.browser import SCRIPT, SCRIPT_NAME

from .conftest import MakeShop
from .doors import Shop, page_of

APP = "the app's own page"

# The path as a server hands it over: decoded once.
APPS = (
    *("//_moe/c/TOKEN", "///_moe/c/TOKEN", "/_moe//c/TOKEN", "/./_moe/c/TOKEN"),
    *("/x/../_moe/c/TOKEN", "/_moe/../_moe/c/TOKEN", "/_MOE/c/TOKEN"),
    *("/_moe/C/TOKEN", "/_moe%2fc/TOKEN", "/_moe/%63/TOKEN", "/_moe\\c\\TOKEN"),
    *("/_moe;x/c/TOKEN", "/_moe/c;x/TOKEN", "/_moe/c\x00/TOKEN"),
    *("/_moe/c /TOKEN", "/_moe", "/_moe/", "/_moe/x", "/_moe/leave"),
    *("/_moe/e.js", "/_moex/c/TOKEN", "/x/_moe/c/TOKEN"),
)
"""Those that are not ours."""

OURS = (
    *("/_moe/c", "/_moe/c/", "/_moe/c//TOKEN", "/_moe/c/TOKEN/"),
    *("/_moe/c/TOKEN/x", "/_moe/c/./TOKEN", "/_moe/c/../c/TOKEN"),
    *("/_moe/c/../../shop", "/_moe/c/TOKEN?x", "/_moe/c/TOKEN#x"),
    *("/_moe/c/TOKEN.css", "/_moe/c/TOKEN;x.css", "/_moe/c/ TOKEN"),
    *("/_moe/c/TOKEN\n", "/_moe/c/%54OKEN", "/_moe/c///evil.example"),
    *("/_moe/c/https://evil.example", "/_moe/c/\\\\evil.example", "/_moe/p/"),
    *("/_moe/p//evil.example", "/_moe/p/leave/", "/_moe/p/leave//evil.example"),
    *("/_moe/p/LEAVE", "/_moe/p/TOKEN"),
)
"""Those that lead nowhere."""


def test_no_other_spelling_of_a_path_leads_anywhere(shop: Shop) -> None:
    token = shop.link().rpartition("/")[2]
    for game in (*APPS, *OURS):
        answer = shop.ask(game.replace("TOKEN", token), customer="alice")

        assert answer.get("location") is None, game
        assert answer.status == (200 if game in APPS else 404), game
        if answer.status == 404:
            # No cache keeps it as the stylesheet that it says it is.
            assert answer.get("cache-control") == "no-store", game
            assert (answer.get("content-type") or "").startswith("text/plain"), game
    assert shop.clicks == 0


def test_a_query_changes_nothing(shop: Shop) -> None:
    link = shop.link()
    query = "next=//evil.example&url=https://evil.example&target=javascript:alert(1)"

    answer = shop.ask(link, customer="alice", query=query)
    left = shop.ask("/_moe/p/leave", query=query)

    assert answer.get("location") == "/shop"
    assert left.get("location") == "/"


def test_no_header_renames_a_path(make_shop: MakeShop) -> None:
    shop = make_shop(page_of("{{ found.script() }}" + APP))
    script = f"/_moe/{SCRIPT_NAME}"
    for name in (
        *("x-original-url", "x-rewrite-url"),
        *("x-forwarded-prefix", "x-forwarded-uri"),
    ):
        app = shop.ask("/", headers=[(name, script)])
        own = shop.ask(script, headers=[(name, "/evil")])

        assert APP in app.text and f'src="{script}"' in app.text, name
        assert own.body == SCRIPT, name


def test_links_and_previews_are_followed_by_looking_alone(shop: Shop) -> None:
    link = shop.link()
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE"):
        for path in (link, "/_moe/p/leave", f"/_moe/{SCRIPT_NAME}"):
            answer = shop.ask(path, method=method, customer="alice")

            refused = (method, path)
            assert (answer.status, answer.get("allow")) == (405, "GET, HEAD"), refused
    assert shop.clicks == 0
