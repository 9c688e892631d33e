"""The digest of what a visitor gets: equal for equal content, and for nothing else."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from moe_middleware import (
    Experience,
    Experiences,
    Identity,
    Reason,
    Source,
    current_experiences,
)

from ..makers import CONTEXT
from ..rows import each
from ..sites import Site

HERO: dict[str, Any] = {"Title": "Sale", "Cta": {"b": 1, "a": [True, None, 1.5]}}


def hero(payload: dict[str, Any], **fields: Any) -> Experience:
    context = fields.pop("experience_context", CONTEXT)
    return Experience(key="hero", payload=payload, experience_context=context, **fields)


STRIP = Experience(key="strip", payload={"Text": "x"}, experience_context=CONTEXT)
FALLBACKS = [
    Experience(key="hero", reason=reason)
    for reason in (Reason.NO_MATCH, Reason.TIMEOUT, Reason.BOT, Reason.BAD_PAYLOAD)
]


def test_the_same_content_has_the_same_one_for_all_visitors() -> None:
    one = Experiences([hero(HERO), STRIP], identity=Identity(customer_id="alice"))
    turned = {"Cta": {"a": [True, None, 1.5], "b": 1}, "Title": "Sale"}
    context = {**CONTEXT, "audience_name": "Gold"}
    other = Experiences(
        [STRIP, hero(turned, source=Source.STALE, experience_context=context)],
        identity=Identity(customer_id="bob"),
    )

    found = one.fingerprint("hero", "strip")

    assert len(found) == 32
    assert found == other.fingerprint("strip", "hero", "strip")
    assert found == one.fingerprint() == copy.copy(other).fingerprint()
    assert found.keys == {"hero", "strip"}
    again = pickle.loads(pickle.dumps(copy.deepcopy(found)))
    assert (again, again.keys) == (found, found.keys)
    assert one.used


@each(
    "other",
    [
        hero({**HERO, "Title": "sale"}),
        hero({**HERO, "Cta": {"b": 1, "a": [True, None, 1]}}),
        hero({**HERO, "Title": Decimal("1.5")}),
        hero({}),
        hero(HERO, experience_context={**CONTEXT, "moe_variation_id": "3"}),
        *FALLBACKS,
    ],
)
def test_other_content_has_another_one(other: Experience) -> None:
    same = Experiences([hero(HERO), STRIP])
    different = Experiences([other, STRIP])

    assert same.fingerprint() != different.fingerprint()
    assert same.fingerprint("hero") != different.fingerprint("hero")
    assert same.fingerprint("strip") == different.fingerprint("strip")
    if other in FALLBACKS:  # which are all one
        first = Experiences([FALLBACKS[0]]).fingerprint("hero")
        assert different.fingerprint("hero") == first


def test_every_process_has_the_same() -> None:
    program = (
        "from moe_middleware import Experience, Experiences\n"
        f"hero = Experience(key='hero', payload={HERO!r}, "
        f"experience_context={CONTEXT!r})\n"
        "print(Experiences([hero]).fingerprint())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert ran.stdout.strip() == Experiences([hero(HERO)]).fingerprint()


def test_what_may_still_come_matches_nothing(caplog: pytest.LogCaptureFixture) -> None:
    found = Experiences([hero(HERO)])

    prints = {found.fingerprint("hero", "typo") for _ in range(3)}

    assert len(prints) == 3
    [line] = caplog.messages
    assert line.startswith("fingerprint_too_early key=typo reason=not_requested: ")


async def test_a_page_that_takes_one_is_private_and_waits_for_its_answers() -> None:
    async def page(request: Request) -> Response:
        found = request.state.experiences
        early = found.fingerprint()
        await found.ready()
        assert found.fingerprint() == current_experiences().fingerprint()
        return JSONResponse([early, found.fingerprint()])

    site = Site(page, fetch={"prefetch": "concurrent"})

    response = await site.get(customer="alice")
    early, ready = response.json()
    again_early, again = (await site.get(customer="alice")).json()

    assert response.headers["cache-control"] == "private, max-age=0"
    assert ready == again == again_early
    assert early != ready
