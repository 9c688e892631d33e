"""What the workspace's own list does to pages, in the whole flow."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from moe_middleware.sandbox import Sandbox

from ..sites import Site

KEYS = ["homepage-banner", "autumn-hero", "homepage-baner"]
"""Active, paused, and a typo."""


async def reasons(request: Request) -> Response:
    found = request.state.experiences
    return JSONResponse([found[key].reason for key in KEYS])


def site(**sections: Any) -> Site:
    routes = [{"path": "/", "experiences": KEYS}]
    defaults: dict[str, Any] = {"metadata": {"interval": 300}, "fetch": {"timeout": 5}}
    return Site(reasons, **{"routes": routes, **defaults, **sections})


async def looked(one: Site) -> None:
    """Wait until the list has been looked at, and what is missing explained."""
    one.runtime.start()
    await one.runtime.catalogue.look()


async def test_only_active_keys_are_asked_for(sandbox: Sandbox) -> None:
    one = site()
    await looked(one)

    response = await one.get(customer="alice")

    assert response.json() == [None, "not_active", "not_active"]
    [fetch] = sandbox.requests.latest(endpoint="fetch")
    assert b'"experience_key":["homepage-banner"]' in fetch.request_body
    await one.runtime.stop()


async def test_a_sandbox_is_asked_for_everything_unless_it_is_set_otherwise(
    sandbox: Sandbox,
) -> None:
    one = site(metadata={})

    response = await one.get(customer="alice")
    await asyncio.sleep(0.05)

    assert response.json() == [None, "no_match", "no_match"]
    assert sandbox.calls["metadata"] == 0
    await one.runtime.stop()
