from __future__ import annotations

from typing import Any

import httpx
from starlette.responses import JSONResponse, PlainTextResponse, Response

from demo_app.counted import read_counted, sandbox_pages, short, sum_up

from ..rows import each

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


def test_impressions_and_clicks_are_summed_up_by_variation_and_element() -> None:
    button, link = {"b_id": "Shop Now"}, {"b_id": "Read on"}
    counted = sum_up(
        [
            event("hero"),
            event("hero", "2"),
            event("hero", action="MOE_WEBP_MESSAGE_SHOWN", via="web_sdk"),
            event("badge", via="api"),
            event("hero", action=CLICKED, **button),
            event("hero", "2", action=CLICKED, **button),
            event("hero", action="MOE_WEBP_MESSAGE_CLICKED", via="web_sdk", **link),
            event("badge", action=CLICKED, b_id=None),
        ]
    )

    shown = [(one.experience_key, one.variation, one.count) for one in counted.tallies]
    assert shown == [("badge", "1", 1), ("hero", "1", 2), ("hero", "2", 1)]
    assert counted.total == 4
    rows = [(one.experience_key, one.b_id, one.count) for one in counted.clicks]
    assert rows == [("badge", "", 1), ("hero", "Read on", 1), ("hero", "Shop Now", 2)]
    # The latest first.
    assert [(one.verb, one.b_id, one.by_web_sdk) for one in counted.recent] == [
        ("clicked", "", False),
        ("clicked", "Read on", True),
        ("clicked", "Shop Now", False),
        ("clicked", "Shop Now", False),
        ("saw", "", False),
        ("saw", "", True),
    ]


def test_long_id_of_a_browser_is_shortened() -> None:
    assert short("alice") == "alice"
    assert short("5d1f2c6e-9b7a-4ab0-8d52-aa1122334455") == "5d1f2c6e…"


@each(
    "answer",
    [
        PlainTextResponse("hello"),
        JSONResponse({"count": 0}),
        JSONResponse([]),
        JSONResponse({"events": []}, status_code=500),
    ],
)
async def test_answer_of_something_else_becomes_a_notice(answer: Response) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(answer)) as client:
        counted = await read_counted({"MOE_BASE_URL": "http://sandbox.test/v1"}, client)

    assert counted.notice is not None
    assert "http://sandbox.test does not answer" in counted.notice


@each(
    ("environ", "address"),
    [
        ({}, "/sandbox"),
        ({"MOE_BASE_URL": "http://127.0.0.1:8787/v1/"}, "http://127.0.0.1:8787"),
        ({"MOE_DATA_CENTER": "02"}, None),
    ],
)
def test_sandbox_has_pages_where_there_is_a_sandbox(
    environ: dict[str, str], address: str | None
) -> None:
    assert sandbox_pages(environ) == address
