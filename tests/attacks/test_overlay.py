"""The overlay behind every door: there for its browser, and for no attack."""

from __future__ import annotations

import json
import re
import time
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest

from moe_middleware.browser.overlay_access import COOKIE, OverlayLinks

from .conftest import MakeShop
from .doors import KEY, SECRET, Answer, Shop, page_of
from .hostile import TEXTS, hostile_api

PAGE = f"""<!doctype html><title>x</title>
{{% experience "{KEY}" as one %}}{{{{ one.Title }}}}{{% endexperience %}}"""
ON = {"development": {"overlay": "on"}}
BY_LINK = {"development": {"overlay": "link"}}
OURS = ("sec-fetch-site", "same-origin")


def shown(answer: Answer) -> Any:
    found = re.search(r'<moe-overlay data-page="([^"]*)">', answer.text)
    return json.loads(unescape(found[1])) if found else None


def token(lasts: int = 60) -> str:
    links = OverlayLinks([SECRET], path="", clock=time.time)
    return links.make("/", int(time.time()) + lasts)


def post(shop: Shop, action: str, body: bytes, **given: Any) -> Answer:
    form = ("content-type", "application/x-www-form-urlencoded")
    headers = given.pop("headers", (OURS,))
    return shop.ask(
        f"/_moe/o/{action}", method="POST", headers=(form, *headers), body=body, **given
    )


def test_every_door_shows_it_and_counts_as_without(make_shop: MakeShop) -> None:
    with_it = make_shop(page_of(PAGE), **ON)
    answer = with_it.ask(customer="alice")
    data = shown(answer)
    plain = make_shop(page_of(PAGE)).ask(customer="alice")

    assert answer.text.startswith(plain.text + "<moe-overlay")
    assert plain.get("cache-control") != "no-store" == answer.get("cache-control")
    assert answer.get("content-length") in (None, str(len(answer.body)))
    assert [one["key"] for one in data["experiences"]] == [KEY, "promo-strip"]
    assert data["visitor"]["ids"][0]["value"] == "alice"
    assert [one.action for one in with_it.events] == ["impression"]
    with_it.mount("/shop")
    assert shown(with_it.ask())["own"] == "/shop/_moe/o/"


def test_it_opens_switches_and_closes_at_every_door(make_shop: MakeShop) -> None:
    shop = make_shop(page_of(PAGE), **BY_LINK)

    opened = shop.ask(f"/_moe/o/{token()}")
    cookie = str(opened.get("set-cookie")).partition(";")[0]
    switched = post(
        shop, "switch", b"variation=All+Users%2F2&key=" + KEY.encode(), cookie=cookie
    )
    preview = str(switched.get("set-cookie")).partition(";")[0]
    page = shop.ask(cookie=f"{cookie}; {preview}")
    closed = post(shop, "leave", b"back=%2Fcart", cookie=cookie)

    assert (opened.status, opened.get("location")) == (302, "/")
    assert (switched.status, switched.get("location")) == (302, "/")
    assert shown(page)["preview"] == {"key": KEY, "variation": "All Users/2"}
    assert shop.events == []
    assert shown(shop.ask()) is None
    assert (closed.status, closed.get("location")) == (302, "/cart")
    assert re.match(f"{COOKIE}=; .*Max-Age=0", str(closed.get("set-cookie")))


@pytest.mark.parametrize(
    ("cookie", "headers", "status"),
    [
        ("", (OURS,), 404),
        (f"{COOKIE}=", (OURS,), 404),
        (f"{COOKIE}=forged.token", (OURS,), 404),
        (f"{COOKIE}=EXPIRED", (OURS,), 404),
        (f"{COOKIE}=GOOD", (), 403),
        (f"{COOKIE}=GOOD", (("sec-fetch-site", "cross-site"),), 403),
        (f"{COOKIE}=GOOD", (("origin", "http://evil.example"),), 403),
        (f"{COOKIE}=GOOD", (("origin", "null"),), 403),
    ],
)
def test_without_the_right_its_endpoints_refuse(
    make_shop: MakeShop,
    cookie: str,
    headers: tuple[tuple[str, str], ...],
    status: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG", "moe_middleware")
    shop = make_shop(page_of(PAGE), **BY_LINK)
    cookie = cookie.replace("GOOD", token()).replace("EXPIRED", token(-1))
    cookies = f"{cookie}; customer_id=alice-4711"

    for action, expected in (("switch", status), ("leave", status), ("other", 404)):
        answer = post(shop, action, b"variation=x", cookie=cookies, headers=headers)
        assert answer.status == expected
        assert answer.get("set-cookie") is None
        assert answer.get("cache-control") == "no-store"
    assert "alice-4711" not in caplog.text
    assert [one for one in caplog.messages if one.startswith("overlay_refused")]


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"=&=&=", b"back=%00", b"{}"])
def test_an_odd_form_switches_nothing(make_shop: MakeShop, body: bytes) -> None:
    answer = post(make_shop(page_of(PAGE), **ON), "switch", body)

    # An empty variation leaves a preview, which is not open.
    assert answer.status in (302, 400)
    assert answer.get("location") in (None, "/")
    assert answer.get("set-cookie") is None


class _Page(HTMLParser):
    """The elements of a page, and the attributes of the overlay."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.names: set[str] = set()
        self.data: Any = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "moe-overlay":
            self.names = {name for name, _ in attrs}
            self.data = json.loads(dict(attrs)["data-page"] or "")


def test_no_text_of_others_leaves_its_attribute(make_shop: MakeShop) -> None:
    template = "<!doctype html>" + "{{ found[text] }}{{ found['promo-strip'] }}"
    with hostile_api() as api:
        for text in TEXTS:
            api.says = text
            shop = make_shop(
                page_of(template, text=text),
                **BY_LINK,
                workspace_id="W1",
                api_key="k",
                data_center="01",
                base_url=api.url,
                identity={"customer_id": {"header": "x-customer"}},
            )
            # Texts that a header can carry, after servers have checked it.
            who = re.sub(r"[^\x20-\x7e]", "", text)
            answer = shop.ask(
                cookie=f"{COOKIE}={token()}",
                headers=[("x-customer", who), ("user-agent", f"Mozilla {who}")],
                query=f"q={who}",
            )
            page = _Page(answer.text)

            assert page.tags == ["moe-overlay", "script"], text
            assert page.names == {"data-page"}
            assert answer.text[answer.text.index("<moe-overlay") :].isascii()
            found = {one["key"]: one for one in page.data["experiences"]}
            assert found[KEY]["payload"]["Title"] == text
            assert found[KEY]["variation"] == text == found[KEY]["audience"]
