"""A page whose marketing edit does not fit its class: it renders, and says so once."""

from __future__ import annotations

from typing import TypedDict

import pytest
from jinja2 import DictLoader, Environment
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from moe_middleware import Observer, Reason, Source
from moe_middleware.sandbox import Sandbox

from ..sites import PAGE, Site


class Hero(TypedDict):
    Title: str


class Evaluations(Observer):
    def __init__(self) -> None:
        self.seen: list[tuple[Source, Reason | None]] = []

    def evaluated(
        self, key: str, variation: str | None, source: Source, reason: Reason | None
    ) -> None:
        self.seen.append((source, reason))


env = Environment(
    loader=DictLoader({"page": PAGE}),
    extensions=["moe_middleware.jinja.MoEngageExtension"],
    autoescape=True,
)


async def page(request: Request) -> Response:
    experiences = request.state.experiences
    early = experiences.typed("homepage-banner", Hero)
    await experiences.ready()
    hero = experiences.typed("homepage-banner", Hero)
    text = env.get_template("page").render(request=request)
    return HTMLResponse(f"{early} {hero and hero['Title']} {text}")


@pytest.mark.parametrize("prefetch", ["blocking", "concurrent"])
async def test_an_edit_that_does_not_fit_is_a_fallback(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, prefetch: str
) -> None:
    observer = Evaluations()
    site = Site(page, fetch={"prefetch": prefetch}, observer=observer)

    sandbox.define("homepage-banner", {"Title": "Sale"})
    good = await site.get(customer="alice")
    sandbox.define("homepage-banner", {"Title": 2026})
    bad = await site.get(customer="dave")
    await site.delivered()

    assert good.text.endswith("Sale <h1>Sale</h1>")
    assert (bad.status_code, bad.text) == (200, "None None <h1>Welcome</h1>")
    assert bad.headers["cache-control"] == "private, max-age=0"
    lines = [line for line in caplog.messages if "bad_payload" in line]
    assert [line.partition(" problem")[0] for line in lines] == [
        "bad_payload key=homepage-banner field=Title expected=str given=int"
    ]
    assert observer.seen[-1] == (Source.FALLBACK, Reason.BAD_PAYLOAD)
    assert [event["customer_id"] for event in sandbox.events] == ["alice"]
