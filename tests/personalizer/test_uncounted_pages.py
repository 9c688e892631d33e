"""``experiences.count(False)``: everything is shown, nothing counts."""

from __future__ import annotations

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


async def test_an_experience_read_before_counts_no_more_until_it_is_taken_back(
    sandbox: Sandbox,
) -> None:
    async def handler(request: Request) -> Response:
        found = request.state.experiences
        hero = found.show(KEY)
        found.count(False)
        tracked = [found.track_impression(KEY), found.track_click(KEY, "b")]
        uncounted = [hero.click_url("/shop", "b"), hero.attrs("b"), tracked]
        counted = found.count().show(KEY).click_url("/shop", "b")
        return JSONResponse([uncounted, counted])

    site = Site(handler, secret_key=SECRET)
    uncounted, counted = (await site.get(customer="alice")).json()
    await site.delivered()

    assert uncounted == ["/shop", "", [None, None]]
    assert counted.startswith("/_moe/c/")
    assert len(sandbox.events) == 1
