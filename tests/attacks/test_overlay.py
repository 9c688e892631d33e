"""The overlay behind every door: there for its browser, and for no attack."""

from __future__ import annotations

import json
import re
import time
from html import unescape
from typing import Any

import pytest

from moe_middleware.browser.overlay_access import COOKIE, OverlayLinks
from moe_middleware.sandbox import Sandbox

from .conftest import MakeShop
from .doors import KEY, SECRET, Answer, Shop, open_shop, page_of
from .hostile import TEXTS, hostile_api
from .test_markup import Structure

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


def test_without_the_right_its_endpoints_refuse(
    make_shop: MakeShop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "moe_middleware")
    shop = make_shop(page_of(PAGE), **BY_LINK)
    good = f"{COOKIE}={token()}"
    for cookie, headers, status in (
        ("", (OURS,), 404),
        (f"{COOKIE}=", (OURS,), 404),
        (f"{COOKIE}=forged.token", (OURS,), 404),
        (f"{COOKIE}={token(-1)}", (OURS,), 404),
        (good, (), 403),
        (good, (("sec-fetch-site", "cross-site"),), 403),
        (good, (("origin", "http://evil.example"),), 403),
        (good, (("origin", "null"),), 403),
    ):
        cookies = f"{cookie}; customer_id=alice-4711"
        for action, expected in (("switch", status), ("leave", status), ("other", 404)):
            answer = post(shop, action, b"variation=x", cookie=cookies, headers=headers)
            assert answer.status == expected, (cookie, headers, action)
            assert answer.get("set-cookie") is None
            assert answer.get("cache-control") == "no-store"
    assert "alice-4711" not in caplog.text
    assert [one for one in caplog.messages if one.startswith("overlay_refused")]
    # An odd form switches nothing: without a variation, it leaves what is not open.
    for body in (b"", b"\xff\xfe", b"=&=&=", b"back=%00", b"{}"):
        answer = post(shop, "switch", body, cookie=good)
        assert answer.status in (302, 400), body
        assert answer.get("location") in (None, "/")
        assert answer.get("set-cookie") is None


def test_no_text_of_others_leaves_its_attribute(sandbox: Sandbox) -> None:
    template = "<!doctype html>{{ found[text] }}{{ found['promo-strip'] }}"
    with hostile_api() as api:
        live = {"data_center": "01", "workspace_id": "W1", "api_key": "k"}
        identity = {"customer_id": {"header": "x-customer"}}
        sections = {**BY_LINK, **live, "base_url": api.url, "identity": identity}
        for text in TEXTS:
            api.says = text
            # Texts that a header can carry, after servers have checked it.
            who = re.sub(r"[^\x20-\x7e]", "", text)
            with open_shop("asgi", page_of(template, text=text), **sections) as shop:
                answer = shop.ask(
                    cookie=f"{COOKIE}={token()}",
                    headers=[("x-customer", who), ("user-agent", f"Mozilla {who}")],
                    query=f"q={who}",
                )
            made = Structure(answer.text).made
            assert made[0] == ("moe-overlay", "data-page"), text
            assert [one for one, *_ in made] == [
                *("moe-overlay", "/moe-overlay", "script", "/script")
            ]
            assert answer.text[answer.text.index("<moe-overlay") :].isascii()
            found = {one["key"]: one for one in shown(answer)["experiences"]}
            assert found[KEY]["payload"]["Title"] == text
            assert found[KEY]["variation"] == text == found[KEY]["audience"]
