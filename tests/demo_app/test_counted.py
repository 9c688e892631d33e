from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from demo_app.counted import ServerLedger, read_counted, sandbox_pages, short, sum_up

SHOWN = "MOE_PERSONALIZATION_MESSAGE_SHOWN"
CLICKED = "MOE_PERSONALIZATION_MESSAGE_CLICKED"


def event(
    key: str, variation: str = "1", action: str = SHOWN, **more: Any
) -> dict[str, Any]:
    return more | {
        "customer_id": "alice",
        "action": action,
        "event_time": 1_700_000_000,
        "attributes": {"moe_variation_id": variation, "audience_name": "All Users"},
        "experience_key": key,
    }


def test_impressions_are_summed_up_by_variation() -> None:
    counted = sum_up([event("hero"), event("hero", "2"), event("hero"), event("badge")])

    rows = [(tally.experience_key, tally.variation) for tally in counted.tallies]
    assert rows == [("badge", "1"), ("hero", "1"), ("hero", "2")]
    assert [tally.count for tally in counted.tallies] == [1, 2, 1]
    assert counted.total == 4


def test_click_is_reported_and_is_no_impression() -> None:
    counted = sum_up([event("hero"), event("hero", action=CLICKED)])

    assert counted.total == 1
    assert [sighting.verb for sighting in counted.recent] == ["clicked", "saw"]


def test_clicks_are_summed_up_by_element() -> None:
    button, link = {"b_id": "Shop Now"}, {"b_id": "Read on"}
    counted = sum_up(
        [
            event("hero", action=CLICKED, **button),
            event("hero", "2", action=CLICKED, **button),
            event("hero", action=CLICKED, **link),
            event("badge", action=CLICKED, b_id=None),
        ]
    )

    rows = [(one.experience_key, one.b_id, one.count) for one in counted.clicks]
    assert rows == [("badge", "", 1), ("hero", "Read on", 1), ("hero", "Shop Now", 2)]
    assert [one.b_id for one in counted.recent][1:] == ["Read on"] + ["Shop Now"] * 2


def test_what_the_web_sdk_says_counts_as_well() -> None:
    counted = sum_up(
        [
            event("hero", action="MOE_WEBP_MESSAGE_SHOWN", via="web_sdk"),
            event("hero", action="MOE_WEBP_MESSAGE_CLICKED", via="web_sdk", b_id="Go"),
            event("hero", via="api"),
        ]
    )

    assert counted.total == 2
    assert [one.b_id for one in counted.clicks] == ["Go"]
    assert [one.by_web_sdk for one in counted.recent] == [False, True, True]


def test_last_six_events_are_reported_newest_first() -> None:
    counted = sum_up([event(f"hero-{number}") for number in range(8)])

    keys = [sighting.experience_key for sighting in counted.recent]
    assert keys == ["hero-7", "hero-6", "hero-5", "hero-4", "hero-3", "hero-2"]


def test_long_id_of_a_browser_is_shortened() -> None:
    assert short("alice") == "alice"
    assert short("5d1f2c6e-9b7a-4ab0-8d52-aa1122334455") == "5d1f2c6e…"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(PlainTextResponse("hello"), id="not json"),
        pytest.param(JSONResponse({"count": 0}), id="no events"),
        pytest.param(JSONResponse([]), id="not an object"),
        pytest.param(JSONResponse({"events": []}, status_code=500), id="an error"),
    ],
)
async def test_answer_of_something_else_becomes_a_notice(answer: Response) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(answer)) as client:
        counted = await read_counted(ServerLedger("http://sandbox.test/v1", client))

    assert counted.notice is not None
    assert "http://sandbox.test does not answer" in counted.notice


@pytest.mark.parametrize(
    ("environ", "address"),
    [
        ({}, "/sandbox"),
        ({"MOE_BASE_URL": "http://127.0.0.1:8787/v1/"}, "http://127.0.0.1:8787"),
        ({"MOE_DATA_CENTER": "02"}, None),
    ],
    ids=["embedded", "server", "real"],
)
def test_sandbox_has_pages_where_there_is_a_sandbox(
    environ: dict[str, str], address: str | None
) -> None:
    assert sandbox_pages(environ) == address
