"""The hands that a sandbox has for tests: what they configure, and how it ends."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from moe_middleware.sandbox import Fault, Sandbox, Status, Workspace
from moe_middleware.sandbox.workspace.file import LOOKS_EVERY

from ..rows import each
from .arrivals import clicked, element, shown
from .calls import Api


async def values(api: Api, key: str, customer_id: str = "x") -> dict[str, Any] | None:
    body = {"customer_id": customer_id, "experience_key": key}
    found = (await api.experiences(body)).get(key)
    if found is None:
        return None
    return {name: one["value"] for name, one in found["payload"].items()}


@each(
    ("value", "data_type"),
    [
        ("text", "string"),
        (7, "number"),
        (True, "boolean"),
        (1.5, "float"),
        ([1], "json"),
        ({"a": 1}, "json"),
    ],
)
async def test_defined_value_is_fetched_with_its_type(
    value: object, data_type: str
) -> None:
    api = Api(Sandbox())
    api.sandbox.define("hero", {"it": value})

    found = await api.experiences({})
    assert found["hero"]["payload"] == {"it": {"value": value, "data_type": data_type}}


async def test_experience_for_some_is_not_for_others(api: Api) -> None:
    api.sandbox.customer("ada", tier="gold", city="Oslo")
    api.sandbox.customer("bob", tier="gold")
    api.sandbox.define("hero", {"Title": "Hi"}, to={"tier": "gold", "city": "Oslo"})

    assert await values(api, "hero", "ada") == {"Title": "Hi"}
    assert await values(api, "hero", "bob") is None
    assert await values(api, "hero", "nobody") is None


async def test_defining_again_replaces_and_several_payloads_are_equal_parts(
    api: Api,
) -> None:
    api.sandbox.define("hero", {"Title": "old"})
    api.sandbox.define("hero", [{"Title": "A"}, {"Title": "B"}])

    titles = [
        (await values(api, "hero", f"user-{number}") or {})["Title"]
        for number in range(60)
    ]

    assert 15 < titles.count("A") < 45
    assert titles.count("A") + titles.count("B") == 60
    keys = [one.key for one in api.sandbox.workspace.experiences]
    assert keys.count("hero") == 1


async def test_status_keeps_an_experience_back(api: Api) -> None:
    api.sandbox.define("hero", {}, status="Paused")

    assert await values(api, "hero") is None
    with pytest.raises(ValueError, match="paused"):
        api.sandbox.define("hero", {}, status="paused")


@each(
    ("payloads", "why"),
    [
        ([], "needs a payload"),
        ({"a": object()}, "a is a object"),
        ({"a": 2**64}, "a is no JSON"),
        ({"a": [{"b": float("nan")}]}, "a is no JSON"),
        ({"a": {1: "b"}}, "a is no JSON"),
    ],
)
def test_payload_that_cannot_be_json_is_refused(payloads: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Sandbox().define("hero", payloads)


async def test_reset_takes_back_what_was_defined(api: Api) -> None:
    api.sandbox.define("hero", {}, status=Status.ACTIVE)
    api.sandbox.customer("alice", tier="none")
    api.sandbox.freeze(0)

    api.sandbox.reset()

    assert await values(api, "hero") is None
    assert await values(api, "homepage-banner", "alice") is not None
    assert api.sandbox.clock() > 0


def test_impressions_and_clicks_are_counted_by_experience(sandbox: Sandbox) -> None:
    hero, footer = (sandbox.define(key, {}).cid_token for key in ("hero", "footer"))
    clicks = [
        clicked(f"{number}", b_id=b_id, token=hero)
        for number, b_id in enumerate(["Shop", "Shop", "Read", None])
    ]
    seen = [shown("a", token=hero), shown("b", token=footer), shown("c", token="none")]

    sandbox.store.record([element(*clicks, *seen)], 0)

    assert (sandbox.impressions("hero"), sandbox.clicks("hero")) == (1, 4)
    assert sandbox.clicks("hero", "Shop") == 2
    assert sandbox.clicks("hero", b_id="Buy") == 0
    assert (sandbox.impressions("footer"), sandbox.clicks("footer")) == (1, 0)
    assert sandbox.impressions("hero", "1") == 1
    assert sandbox.impressions("hero", "2") == 0
    assert sandbox.impressions("nobody") == 0
    assert len(sandbox.events) == 7


def test_clock_stands_still_where_it_is_frozen(sandbox: Sandbox) -> None:
    running = Sandbox()

    running.freeze()
    stopped_at = running.clock()
    sandbox.freeze(datetime(2026, 9, 21, 12, tzinfo=UTC))

    assert running.clock() == stopped_at
    assert sandbox.clock() == 1_789_992_000.0
    sandbox.freeze(5.0)
    assert sandbox.clock() == 5.0


def test_assigned_workspace_is_what_a_reset_goes_back_to(sandbox: Sandbox) -> None:
    sandbox.workspace = Workspace(name="Mine", faults=(Fault(status=503),))
    assert sandbox.workspace.name == "Mine"
    sandbox.define("hero", {})

    sandbox.reset()

    assert sandbox.workspace.name == "Mine"
    assert sandbox.workspace.experiences == ()
    assert len(sandbox.faults.as_documents()) == 1


FILE = """
name: {name}
faults: [{{path: fetch, status: 503, times: null}}]
"""


def test_workspace_file_is_followed_with_its_faults(tmp_path: Path) -> None:
    file = tmp_path / "workspace.yml"
    file.write_text(FILE.format(name="First"))
    sandbox = Sandbox(file)
    sandbox.fault("events", drop=True)

    file.write_text(FILE.format(name="The second"))
    time.sleep(LOOKS_EVERY)
    assert sandbox.workspace.name == "The second"
    assert [one["path"] for one in sandbox.faults.as_documents()] == ["fetch", "events"]

    file.write_text("name: Without faults\n")
    time.sleep(LOOKS_EVERY)
    assert sandbox.workspace.name == "Without faults"
    assert sandbox.faults.as_documents() == []

    # The last good one stays.
    file.write_text("nmae: Mine\n")
    time.sleep(LOOKS_EVERY)
    assert sandbox.workspace.name == "Without faults"
    (problem,) = TestClient(sandbox).get("/").json()["problems"]
    assert problem == f"{file}:1: nmae: unknown key 'nmae': did you mean 'name'?"
