"""What we answer by ourselves under Django: links, beacons, scripts, device ids."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.http import HttpResponse

from moe_middleware import Action

from .sites import Site
from .urls import KEY

SECRET = "a secret key of these tests"
BANNER = """{% load moengage %}
{% experience "homepage-banner" as hero %}
<b {% attrs hero "Shop Now" %}>{{ hero.Title }}</b>
{% else %}Welcome{% endexperience %}"""


def templated(source: str) -> Any:
    """Return a view of one template."""

    def view(request: Any) -> Any:
        from django.template import engines

        return HttpResponse(engines["django"].from_string(source).render({}, request))

    return view


def linking(request: Any) -> Any:
    """Answer with a link that counts."""
    return HttpResponse(request.experiences[KEY].click_url("/shop", "Shop Now"))


def test_a_signed_in_users_click_counts_and_leads_on(
    site: Callable[..., Site], get: Callable[..., Any]
) -> None:
    shop = site(linking, secret_key=SECRET, fetch={"timeout": 5})
    shop.sign_in("alice")
    link = shop.get().content.decode()

    followed = get(shop, link)

    assert re.fullmatch(r"/_moe/c/[\w.-]+", link)
    assert followed.status_code == 302
    assert followed["location"] == "/shop"
    assert followed["cache-control"] == "no-store"
    [click] = shop.events
    assert (click.action, click.b_id) == (Action.CLICK, "Shop Now")


def test_marks_and_the_script_that_counts_them(
    site: Callable[..., Site], get: Callable[..., Any]
) -> None:
    route = {"path": "/", "experiences": [KEY], "impression": "visible"}
    shop = site(
        templated(BANNER + '{% moe_script nonce="n0nce" %}'),
        secret_key=SECRET,
        routes=[route],
    )
    shop.sign_in("alice")
    page = shop.get().content.decode()
    [mark] = re.findall(r'data-moe="(.*?)" data-moe-on="click seen"', page)
    [src] = re.findall(r'<script src="(/_moe/\w+\.js)" defer nonce="n0nce">', page)
    sent: Any = {
        "headers": {"sec-fetch-site": "same-origin"},
        "content_type": "text/plain",
    }
    body = f"c {mark} 1\ns {mark}"

    answer = get(shop, "/_moe/e", body, method="post", **sent)

    assert (answer.status_code, answer.content) == (204, b"")
    assert b"IntersectionObserver" in shop.get(src).content
    assert {event.action for event in shop.events} == {*Action}


def test_what_is_left_to_the_web_sdk_is_reported_to_it_alone(
    site: Callable[..., Site],
) -> None:
    shop = site(
        templated(BANNER + '{% moe_web_sdk nonce="n0nce" api="personalize" %}'),
        routes=[{"path": "/", "experiences": [KEY], "impression": "web_sdk"}],
    )
    page = shop.get().content.decode()
    [block] = re.findall(r"data-moe-web-sdk>(.*?)</script>", page)
    [src] = re.findall(r'<script src="(/_moe/\w+\.js)" defer nonce="n0nce">', page)

    assert list(json.loads(block)["contexts"]) == [KEY]
    assert json.loads(block)["api"] == "personalize"
    assert 'data-moe-widget="Shop Now"' in page
    assert b"MOE_LIFECYCLE" in shop.get(src).content
    assert shop.events == []


def test_below_a_script_name_all_of_ours_is_too(site: Callable[..., Site]) -> None:
    shop = site(
        templated(BANNER + "{% moe_script %}{% moe_web_sdk %}"), secret_key=SECRET
    )
    page = shop.get(SCRIPT_NAME="/shop").content.decode()

    assert len(re.findall(r'src="/shop/_moe/', page)) == 2


@pytest.mark.parametrize(
    "source", ["{% attrs nothing %}", '{% attrs "text" "x" %}', "{% moe_script %}"]
)
def test_without_a_match_or_a_secret_a_page_has_nothing_of_it(
    source: str, site: Callable[..., Site]
) -> None:
    page = site(templated("{% load moengage %}[" + source + "]")).get()

    assert page.content == b"[]"
