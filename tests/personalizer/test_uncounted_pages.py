"""``experiences.count(False)``: everything is shown, nothing counts."""

from __future__ import annotations

import json

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from moe_middleware.sandbox import Sandbox

from ..sites import Site, rendered

KEY = "homepage-banner"
SECRET = "a-secret-for-this-test-and-no-other"
ALL_OF_IT = """
{%- experience "homepage-banner" as hero %}{{ hero.Title }}|
{{- hero.click_url("/shop", "b") }}|{{ hero.attrs("b") }}|{% endexperience -%}
{{ moe_script() }}{{ moe_web_sdk() }}
"""


async def test_all_is_shown_and_nothing_counts(sandbox: Sandbox) -> None:
    page = rendered(ALL_OF_IT)

    async def preview(request: Request) -> Response:
        request.state.experiences.count(False)
        return await page(request)

    site = Site(preview, secret_key=SECRET)
    response = await site.get(customer="alice")
    await site.delivered()

    title, link, attributes, rest = response.text.split("|")
    assert title
    assert (link, attributes, rest.strip()) == ("/shop", "", "")
    assert response.headers["cache-control"].startswith("private")
    assert sandbox.events == []


async def test_an_experience_read_before_counts_no_more(sandbox: Sandbox) -> None:
    async def handler(request: Request) -> Response:
        found = request.state.experiences
        hero = found.show(KEY)
        found.count(False)
        tracked = [found.track_impression(KEY), found.track_click(KEY, "b")]
        return JSONResponse([hero.click_url("/shop", "b"), hero.attrs("b"), tracked])

    site = Site(handler, secret_key=SECRET)
    response = await site.get(customer="alice")
    await site.delivered()

    assert response.json() == ["/shop", "", [None, None]]
    assert sandbox.events == []


async def test_what_was_left_to_the_web_sdk_is_not_handed_to_it(
    sandbox: Sandbox,
) -> None:
    async def handler(request: Request) -> Response:
        found = request.state.experiences
        hero = found.show(KEY)
        found.count(False)
        return HTMLResponse(f"{hero.attrs('b')}{found.web_sdk()}")

    routes = [{"path": "/", "experiences": [KEY], "impression": "web_sdk"}]
    for secret in (SECRET, None):
        site = Site(handler, routes=routes, secret_key=secret)
        assert (await site.get(customer="alice")).text == ""


async def test_it_is_one_pages_business_and_can_be_taken_back(
    sandbox: Sandbox,
) -> None:
    async def handler(request: Request) -> Response:
        found = request.state.experiences
        uncounted = found.count(False).show(KEY).click_url("/shop", "b")
        counted = found.count().show(KEY).click_url("/shop", "b")
        return JSONResponse([uncounted, counted])

    site = Site(handler, secret_key=SECRET)
    uncounted, counted = json.loads((await site.get(customer="alice")).text)
    await site.delivered()

    assert uncounted == "/shop"
    assert counted.startswith("/_moe/c/")
    assert len(sandbox.events) == 1
