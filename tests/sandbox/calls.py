"""Calling the sandbox in process, as a client that we did not write would."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import httpx

from moe_middleware.sandbox import Sandbox


def basic(user: str, password: str) -> str:
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return f"Basic {token}"


HEADERS = {
    "MOE-APPKEY": "sandbox",
    "Authorization": basic("sandbox", "sandbox-key"),
    "Content-Type": "application/json",
}

CONTEXT = {
    "cid": "66d55ae445921e4d35ae4368_F_T_WP_AB_2_P_0_AU_5A",
    "experience": "Test Server side experience",
    "moe_locale_id": "0",
    "moe_variation_id": "2",
    "audience_name": "All Users",
    "audience_id": "5A",
    "type": "Web Personalization",
}

ACTION = {
    "action": "MOE_PERSONALIZATION_MESSAGE_SHOWN",
    "moe_event_uuid": "aa886712-4537-47c1-b126-2686efda2e26",
    "event_time": 1725258666,
    "platform": "web",
    "attributes": CONTEXT,
}


def element(**fields: Any) -> dict[str, Any]:
    """An element with one good action, but for these fields."""
    return {"customer_id": "erin", "actions": [ACTION]} | fields


def action(**fields: Any) -> dict[str, Any]:
    """An events body of one good action, but for these fields."""
    return {"elements": [element(actions=[ACTION | fields])]}


class Api:
    """The three endpoints and the tools beside them."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    async def send(
        self,
        method: str,
        path: str,
        body: bytes | object = b"",
        headers: Mapping[str, str] = HEADERS,
    ) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        transport = httpx.ASGITransport(app=self.sandbox)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://sandbox.test"
        ) as client:
            return await client.request(method, path, content=content, headers=headers)

    async def fetch(self, body: bytes | object) -> httpx.Response:
        return await self.send("POST", "/v1/experiences/fetch", body)

    async def metadata(self, query: str = "") -> httpx.Response:
        return await self.send("GET", f"/v1/experiences/metadata{query}")

    async def report(self, body: bytes | object) -> httpx.Response:
        return await self.send("POST", "/v1/experiences/events", body)

    async def experiences(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The experiences of a fetch that must succeed."""
        response = await self.fetch(dict(body))
        assert response.status_code == 200, response.text
        experiences: dict[str, Any] = response.json()["experiences"]
        return experiences
