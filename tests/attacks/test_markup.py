"""XSS: hostile texts in every place that we put out, by what a parser makes of it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from django.template import engines

from moe_middleware.browser.preview_links import COOKIE, Preview, PreviewLinks
from moe_middleware.sandbox import Sandbox

from ..rows import each
from .doors import SECRET, Headers, Render, open_shop, page_of
from .hostile import (
    HARMLESS,
    KEY,
    SDK_KEY,
    TEXTS,
    HostileAPI,
    context_of,
    hostile_api,
)

JINJA = """<!doctype html><title>{{ found["homepage-banner"].Title }}</title>
{% experience "homepage-banner" as one %}
<h1 title="{{ one.Title }}" data-x='{{ one["Title"] }}'>{{ one.Title }}</h1>
<p>{{ one }}{{ one.key }}{{ one.payload }}{{ one.experience_context }}{{ found }}</p>
<p>{{ one.Json }}{{ one["__html__"] }}{{ one["click_url"] }}{{ one.get("attrs") }}</p>
<a href="{{ one.click_url(one.Title, one.Title) }}">{{ one.source }}</a>
<a href='{{ one.click_url("/shop", one.Title) }}'>go</a>
<b {{ one.attrs(one.Title) }}></b>
{% for name, value in one.payload.items() %}<i class="{{ name }}">{{ value }}</i>
{% endfor %}{{ moe_script(one.Title) }}{{ found.badge() }}
{% endexperience %}
{% experience "promo-strip" as two impression="web_sdk" %}
<a href="{{ two.click_url(two.Title, two.Title) }}" {{ two.attrs(two.Title) }}>x</a>
{{ moe_web_sdk(two, nonce=two.Title) }}
{% endexperience %}
{% experience found["homepage-banner"].Title as three %}{{ three }}{% else %}
<em>{{ three }}</em>{% endexperience %}"""

DJANGO = """{% load moengage %}<!doctype html>
{% experience "homepage-banner" as one %}<title>{{ one.Title }}</title>
<h1 title="{{ one.Title }}" data-x='{{ one|value:"Title" }}'>{{ one.Title }}</h1>
<p>{{ one }}{{ one.key }}{{ one.payload }}{{ one.experience_context }}</p>
<p>{{ one.Json }}{{ one|value:"__html__" }}{{ one|value:"click_url" }}</p>
<a href="{% click_url one one.Title one.Title %}">{{ one.source }}</a>
<a href='{% click_url one "/shop" one.Title %}'>go</a>
<b {% attrs one one.Title %}></b>
{% for name, value in one.payload.items %}<i class="{{ name }}">{{ value }}</i>
{% endfor %}{% moe_script nonce=one.Title %}
{% experience one.Title as three %}{{ three }}{% else %}
<em>{{ three }}</em>{% endexperience %}
{% endexperience %}
{% experience "promo-strip" impression="web_sdk" as two %}
<a href="{% click_url two two.Title two.Title %}" {% attrs two two.Title %}>x</a>
{% moe_web_sdk two nonce=two.Title %}
{% endexperience %}"""


def django_page() -> tuple[str, Headers]:
    return engines["django"].from_string(DJANGO).render({}), ()


PAGES: dict[str, tuple[str, Render]] = {
    "jinja": ("asgi", page_of(JINJA)),
    "jinja under WSGI": ("wsgi", page_of(JINJA)),
    "django": ("django", django_page),
}


class Structure(HTMLParser):
    """What a page is made of, whatever its texts say.

    Attributes:
        made: Its elements, with the names of their attributes.
        links: The values of those that browsers follow or run.
        blocks: The texts of the scripts.
    """

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.made: list[tuple[str, ...]] = []
        self.links: list[str] = []
        self.blocks: list[str] = []
        self._in_script = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.made.append((tag, *(name for name, _ in attrs)))
        self._in_script = tag == "script"
        for name, value in attrs:
            assert not name.startswith("on"), (tag, name)
            if name in ("href", "src", "action", "srcdoc", "formaction"):
                self.links.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        self.made.append((f"/{tag}",))
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.blocks.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"an instruction: {data}")

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(f"a declaration: {data}")


@pytest.fixture(scope="module")
def api() -> Iterator[HostileAPI]:
    with hostile_api() as serving:
        yield serving


def sections(api: HostileAPI) -> dict[str, Any]:
    routes = [{"path": "/{rest:path}", "experiences": [KEY, SDK_KEY]}]
    return {"base_url": api.url, "routes": routes, "cache": {"ttl": 0, "stale": 0}}


@pytest.mark.parametrize("name", PAGES)
def test_no_text_of_others_makes_an_element(
    name: str, api: HostileAPI, sandbox: Sandbox
) -> None:
    door, render = PAGES[name]
    with open_shop(door, render, **sections(api)) as shop:
        api.says = HARMLESS
        plain = Structure(shop.ask(customer="alice").text)
        # One of the page's own, our script, the block and the script for the SDK.
        assert len([one for one in plain.made if one[0] == "script"]) == 3
        for text in TEXTS:
            api.says = text
            page = shop.ask(customer="alice").text
            found = Structure(page)

            assert found.made == plain.made, text
            assert text not in page or not set(text) & set("<>\"'&")
            for link in found.links:
                assert not link.lower().startswith(("javascript:", "data:", "//")), text
                assert link.isprintable(), text
            [block] = found.blocks
            # The SDK gets the API's text, to the letter.
            assert json.loads(block)["contexts"] == {SDK_KEY: context_of(text)}
            assert not set(block) & set("<>&\u2028\u2029"), text


def test_a_previews_badge_and_content_are_texts_too(
    api: HostileAPI, sandbox: Sandbox
) -> None:
    api.says = HARMLESS
    with open_shop("asgi", page_of(JINJA), **sections(api)) as shop:
        until = int(shop.clock()) + 60
        links = PreviewLinks([SECRET], path="", clock=lambda: until - 60)
        made = {}
        for text in (HARMLESS, *filter(str.isprintable, TEXTS)):
            payload = {"Title": text, "Json": {text: text}, text: text}
            token = links.make(Preview(KEY, text, payload, "/", until))
            page = shop.ask(cookie=f"customer_id=alice; {COOKIE}={token}").text
            assert "Preview of" in page
            made[text] = Structure(page).made

    assert {text for text, one in made.items() if one != made[HARMLESS]} == set()


def test_a_payload_takes_the_place_of_nothing_of_ours(
    api: HostileAPI, sandbox: Sandbox
) -> None:
    template = """{% experience "homepage-banner" as one %}{{ one.click_url("/a") }} \
{{ one.attrs("b") }} {{ one.payload is string }} {{ one.__html__ }}\
{% endexperience %}"""
    api.says = "<script>hit()</script>"
    with open_shop("asgi", page_of(template), **sections(api)) as shop:
        page = shop.ask(customer="alice").text

    assert page.startswith("/_moe/c/") and 'data-moe-on="click"' in page
    assert page.endswith(" False &lt;script&gt;hit()&lt;/script&gt;")


def test_an_element_named_by_a_number_counts_like_any_other(
    sandbox: Sandbox, api: HostileAPI
) -> None:
    template = """{% experience "homepage-banner" as one %}
    "{{ one.click_url("/shop", given) }}" {{ one.attrs(given) }}{% endexperience %}"""
    for given in (5, 0.5, True, [1], {"a": 1}, ["<"]):
        with open_shop("asgi", page_of(template, given=given)) as shop:
            shop.ask(shop.link(), customer="alice")
            mark = shop.mark()
            assert shop.tell(f"c {mark} 1".encode(), customer="alice").status == 204
            clicked = [one.b_id for one in shop.events if one.action == "click"]
            assert clicked == [str(given), str(given)]


def test_names_that_are_too_long_cost_their_count_and_no_more(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    long = "".join(chr(0x4E00 + (n * 7919) % 20_000) for n in range(9_000))
    template = """{% experience "homepage-banner" as one -%}
    <a href="{{ one.click_url("/shop", long) }}" {{ one.attrs(long) }}>
    {%- endexperience %}"""
    with open_shop("asgi", page_of(template, long=long)) as shop:
        page = shop.ask(customer="alice").text

    assert 'href="/shop" >' in page
    assert "click_not_counted" in caplog.text and "element_not_marked" in caplog.text
    assert all(len(one.getMessage()) < 500 for one in caplog.records)


@each("text", TEXTS)
async def test_the_sandboxs_pages_hold_texts_of_others_as_texts(text: str) -> None:
    shown = Sandbox()
    with contextlib.suppress(ValueError):
        # Not each of them is a template, or a name, that the sandbox takes.
        shown.define("evil", {"Title": text, text: text}, name=text)
    with contextlib.suppress(ValueError):
        shown.customer(text, first_name=text, **{text: text})
    transport = httpx.ASGITransport(shown, raise_app_exceptions=False)
    quoted = quote(text, safe="")
    ids = {"customer_id": text, text: text, "experience_key": ["evil", text]}
    key = {"MOE-APPKEY": "sandbox", "Authorization": f"Basic {quoted}"}
    events = {"elements": [{"customer_id": text, "actions": [{"action": text}]}]}
    found_on = 0
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as seen:
        await seen.post("/v1/experiences/fetch", json=ids, headers=key)
        await seen.post("/v1/experiences/events", json=events, headers=key)
        for path in (
            *("/", "/events", "/requests", "/faults", "/connect", "/experiences"),
            *("/experiences/evil", f"/experiences/{quoted}", f"/{quoted}"),
            f"/explain?customer_id={quoted}&customer={quoted}&key={quoted}&now={quoted}",
            f"/experiences/evil?from={quoted}&audience={quoted}&platform={quoted}",
            f"/requests?path={quoted}&q={quoted}",
        ):
            answer = await seen.get(path, headers={"accept": "text/html"})
            assert answer.status_code < 500, path
            if "text/html" in answer.headers["content-type"]:
                Structure(answer.text)
                assert not set(text) & set("<>\"'") or text not in answer.text, path
                found_on += text in unescape(answer.text)
    # The test would see nothing on pages that say nothing.
    assert found_on >= 2
