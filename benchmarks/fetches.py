"""One fetch's CPU time: our client beside a tuned httpx, against a local server."""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import orjson

from moe_middleware import Identity, MoEngageClient, Settings

from .ratios import Comparison, Measure, compare
from .servers import server

FETCHES = 448
KEYS = ["homepage-banner"]
CUSTOMER = "customer-7"
ATTRIBUTES = {"DAY_OF_THE_WEEK": "Friday", "TIME_OF_THE_DAY": "09"}
GOALS = {1: "<= 1.0", 16: "<= 0.5", 64: "<= 0.20"}

Fetch = Callable[[], Awaitable[object]]


async def fetches(directory: Path) -> AsyncIterator[Comparison]:
    """Compare a fetch and its answer, read, with httpx's; connections are kept."""
    async with server("api", directory) as port:
        base_url = f"http://127.0.0.1:{port}/v1"
        async with _our_client(base_url) as ours, _stock_client() as stock:
            for at_once, goal in GOALS.items():
                yield await compare(
                    f"one fetch, {at_once} at once, beside tuned httpx",
                    ours=_fetching(_our_fetch(ours), at_once),
                    rival=_fetching(_stock_fetch(stock, base_url), at_once),
                    unit="us CPU",
                    goal=goal,
                )


def _our_client(base_url: str) -> MoEngageClient:
    workspace = {"id": "W", "api_key": "K", "base_url": base_url}
    return MoEngageClient(Settings(workspace=workspace))


def _our_fetch(client: MoEngageClient) -> Fetch:
    identity = Identity(customer_id=CUSTOMER)

    async def fetch() -> object:
        found = await client.fetch(
            KEYS, identity=identity, attributes=ATTRIBUTES, timeout=10.0
        )
        return found["homepage-banner"].payload["Title"]

    return fetch


def _stock_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(trust_env=False, timeout=10.0)


def _stock_fetch(client: httpx.AsyncClient, base_url: str) -> Fetch:
    url = httpx.URL(f"{base_url}/experiences/fetch")
    headers = httpx.Headers(
        {
            "authorization": f"Basic {b64encode(b'W:K').decode()}",
            "moe-appkey": "W",
            "content-type": "application/json",
        }
    )
    body = {
        "identifiers": {"customer_id": CUSTOMER},
        "experience_key": KEYS,
        **ATTRIBUTES,
    }

    async def fetch() -> object:
        response = await client.post(url, content=orjson.dumps(body), headers=headers)
        answer = orjson.loads(response.content)
        return answer["experiences"]["homepage-banner"]["payload"]["Title"]["value"]

    return fetch


def _fetching(fetch: Fetch, at_once: int) -> Measure:
    async def one_after_the_other() -> None:
        for _ in range(FETCHES // at_once):
            await fetch()

    async def measure() -> float:
        started = time.process_time()
        await asyncio.gather(*(one_after_the_other() for _ in range(at_once)))
        return (time.process_time() - started) / FETCHES * 1e6

    return measure
