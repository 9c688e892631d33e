"""What is left to MoEngage's Web SDK: what pages say of it, and what we then do not."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest
from jinja2 import DictLoader, Environment
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from moe_middleware import Experience
from moe_middleware.browser import SDK_SCRIPT, SDK_SCRIPT_NAME
from moe_middleware.browser.preview_links import COOKIE, Preview, PreviewLinks
from moe_middleware.browser.web_sdk import LeftToSDK
from moe_middleware.sandbox import Sandbox

from ..rows import each
from ..sites import Site, rendered

KEY, STRIP = "homepage-banner", "promo-strip"
SECRET = "a secret of these tests alone"
BANNER = """
{%- experience "homepage-banner" as banner -%}
<a href="{{ banner.click_url("/shop", "Shop Now") }}"
   {{ banner.attrs("Shop Now") }}>{{ banner.Title }}</a>
{%- endexperience -%}
"""
PAGE = BANNER + "{{ moe_web_sdk(nonce='n0nce') }}"
BLOCK = re.compile(r'<script type="application/json" data-moe-web-sdk>(.*?)</script>')


def site(page: str = PAGE, *, impression: str | None = "web_sdk", **more: Any) -> Site:
    route = {"path": "/", "experiences": [KEY, STRIP], "impression": impression}
    return Site(rendered(page), routes=[route], **{"secret_key": SECRET, **more})


def blocks_of(page: httpx.Response) -> list[dict[str, Any]]:
    """Return what a page tells our script."""
    return [json.loads(found) for found in BLOCK.findall(page.text)]


async def shown_keys(some: Site, **visit: Any) -> list[str]:
    """Return what the page of a visit tells the SDK of."""
    return [
        key for one in blocks_of(await some.get(**visit)) for key in one["contexts"]
    ]


async def test_a_page_tells_the_sdk_and_the_server_tells_nothing(
    sandbox: Sandbox,
) -> None:
    some = site()
    page = await some.get(customer="alice")
    await some.delivered()

    [block] = blocks_of(page)
    assert list(block["contexts"]) == [KEY]
    assert block["contexts"][KEY]["moe_variation_id"]
    assert block["contexts"][KEY]["type"] == "Web Personalization"
    assert block["api"] == "web_p"
    assert (
        f'<script src="/_moe/{SDK_SCRIPT_NAME}" defer nonce="n0nce"></script>'
        in page.text
    )
    assert sandbox.events == []


@pytest.mark.parametrize("secret", [SECRET, None])
async def test_its_links_are_plain_and_its_elements_marked_for_the_sdk(
    sandbox: Sandbox, secret: str | None
) -> None:
    some = site(secret_key=secret)
    page = await some.get(customer="alice")
    script = await some.get(f"/_moe/{SDK_SCRIPT_NAME}")

    assert list(blocks_of(page)[0]["contexts"]) == [KEY]
    assert '<a href="/shop"' in page.text
    assert f'data-moe-sdk="{KEY}" data-moe-widget="Shop Now"' in page.text
    assert "/_moe/c/" not in page.text
    assert "data-moe=" not in page.text
    assert script.content == SDK_SCRIPT
    assert "immutable" in script.headers["cache-control"]
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"


async def test_the_tag_itself_can_say_so(sandbox: Sandbox) -> None:
    some = site(
        '{% experience "promo-strip" impression="web_sdk" %}x{% endexperience %}'
        '{% experience "homepage-banner" %}y{% endexperience %}'
        "<!--{{ moe_web_sdk('promo-strip') }}-->",
        impression=None,
    )
    keys = await shown_keys(some, customer="alice")
    await some.delivered()

    assert keys == [STRIP]
    assert (sandbox.impressions(STRIP), sandbox.impressions(KEY)) == (0, 1)


@pytest.mark.parametrize("wanted", ["", "'homepage-banner'", "banner"])
async def test_what_was_shown_before_is_taken_over(
    wanted: str, sandbox: Sandbox
) -> None:
    some = site(
        '{% set banner = request.state.experiences["homepage-banner"] %}'
        '{% experience "homepage-banner" %}x{% endexperience %}'
        f"{{{{ moe_web_sdk({wanted}) }}}}",
        impression=None,
    )
    keys = await shown_keys(some, customer="alice")
    await some.delivered()

    assert keys == [KEY]
    assert sandbox.events == []


async def test_a_counted_link_that_stands_already_is_warned_of(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    assert await shown_keys(site(impression=None), customer="alice") == [KEY]

    assert "web_sdk_late key=homepage-banner: it has a link" in caplog.text


async def test_what_the_browser_watches_is_not_taken_over(sandbox: Sandbox) -> None:
    some = site(impression="visible")

    assert await shown_keys(some, customer="alice") == []
    assert "data-moe-on" in (await some.get(customer="alice")).text


@pytest.mark.parametrize("before", [True, False])
async def test_an_explicit_impression_and_the_sdk_never_both_count(
    before: bool, sandbox: Sandbox
) -> None:
    async def handler(request: Request) -> Response:
        found = request.state.experiences
        if before:
            found.track_impression(KEY)
        found.show(KEY, "web_sdk")
        uuids = found.track_impression(KEY), found.track_click(KEY, "Shop Now")
        return HTMLResponse(f"{found.web_sdk(KEY)}<!--{uuids}-->")

    some = Site(handler)
    keys = await shown_keys(some, customer="alice")
    await some.delivered()

    assert keys == ([] if before else [KEY])
    assert sandbox.impressions(KEY) == int(before)
    assert sandbox.clicks(KEY) == int(before)


async def test_each_experience_is_reported_once_and_the_script_loaded_once(
    sandbox: Sandbox,
) -> None:
    strip = '{% experience "promo-strip" %}x{% endexperience %}'
    page = await site(PAGE + PAGE + strip + "{{ moe_web_sdk() }}").get(customer="alice")

    assert [list(one["contexts"]) for one in blocks_of(page)] == [[KEY], [STRIP]]
    assert page.text.count("<script src=") == 1


async def test_experiences_that_did_not_match_are_not_reported(
    sandbox: Sandbox,
) -> None:
    sandbox.define("nobodys", {"Title": "x"}, to={"tier": "none"})
    route = {"path": "/", "experiences": ["nobodys"], "impression": "web_sdk"}
    page = '{% experience "nobodys" %}x{% endexperience %}'
    some = Site(rendered(page + "{{ moe_web_sdk('nobodys', 'x') }}"), routes=[route])

    assert (await some.get(customer="alice")).text == ""


@pytest.mark.parametrize(
    ("sections", "headers"),
    [
        ({"consent": {"given_by": {"cookie": "consent"}, "without": "anonymous"}}, {}),
        ({"bots": {"personalize": "on"}}, {"user-agent": "Googlebot/2.1"}),
        ({}, {"user-agent": "Googlebot/2.1"}),
    ],
)
async def test_the_sdk_learns_of_no_visitor_who_may_not_be_counted(
    sections: dict[str, Any], headers: dict[str, str], sandbox: Sandbox
) -> None:
    sandbox.define(KEY, {"Title": "For everyone"})
    page = await site(**sections).get(headers=headers)

    assert "<script" not in page.text


async def test_in_a_preview_nothing_is_reported(sandbox: Sandbox) -> None:
    links = PreviewLinks([SECRET], path="/", clock=lambda: 0)
    shown = Preview(STRIP, "B", {"Text": "x"}, "/", 9**10)
    cookie = f"{COOKIE}={links.make(shown)[1:]}; customer_id=alice"
    page = await site().get(headers={"cookie": cookie})

    assert "Shop Now" in page.text
    assert "data-moe-web-sdk" not in page.text


async def test_forgetting_to_tell_and_another_api_are_warned_of(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    tag = "{{{{ moe_web_sdk(api='{}') }}}}"
    right, wrong = [
        await site(BANNER + tag.format(api)).get(customer="alice")
        for api in ("personalize", "webp")
    ]
    assert [blocks_of(one)[0]["api"] for one in (right, wrong)] == [
        *("personalize", "web_p")
    ]
    assert caplog.text.count("web_sdk_api_unknown given=webp") == 1
    assert "web_sdk_not_told" not in caplog.text

    await site(BANNER).get(customer="alice")
    assert "web_sdk_not_told keys=homepage-banner: they do not count" in caplog.text


async def test_a_template_that_jinja_keeps_for_all_does_not_keep_it(
    sandbox: Sandbox,
) -> None:
    env = Environment(
        loader=DictLoader(
            {
                "page": '{% from "parts" import foot %}{{ foot }}',
                "parts": "{% set foot %}{{ moe_web_sdk('homepage-banner') }}"
                "{% endset %}",
            }
        ),
        extensions=["moe_middleware.jinja.MoEngageExtension"],
    )

    async def handler(request: Request) -> Response:
        return HTMLResponse(env.get_template("page").render(request=request))

    some = Site(handler)
    pages = [await some.get(customer=who) for who in ("alice", "dave")]

    [[first], [second]] = [blocks_of(page) for page in pages]
    assert first["contexts"] != second["contexts"]


# --- what stands in the page -------------------------------------------------

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "]]>",
    "\u2028alert(1)\u2029",
    "&quot;",
    "'\"`\\",
    "\x00\x1f",
]


@each("hostile", HOSTILE)
def test_hostile_values_arrive_and_end_nothing(hostile: str) -> None:
    context = {"cid": hostile, hostile: "x"}
    left = LeftToSDK()
    left.leave(Experience(key=hostile, experience_context=context))
    block = str(left.elements("/_moe", nonce=None, api="web_p", device=None))

    body = block.removeprefix('<script type="application/json" data-moe-web-sdk>')
    data, _, rest = body.partition("</script>")
    assert json.loads(data)["contexts"] == {hostile: context}
    assert rest == f'<script src="/_moe/{SDK_SCRIPT_NAME}" defer></script>'
    assert not set(data) & {"<", ">", "&", "\u2028", "\u2029"}
