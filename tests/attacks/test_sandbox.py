"""What another site's page, open in the same browser, can do to a sandbox: nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from moe_middleware.sandbox import Sandbox
from moe_middleware.sandbox.listeners import address_of, listen
from moe_middleware.sandbox.uvicorn import running

from ..sandbox.calls import CONTEXT, HEADERS, action
from ..servers import free_port, sandbox_server, wait_for

EVIL = "http://evil.example"

Headers = dict[str, str]

READ = (
    "/", "/events", "/requests", "/explain", "/help", "/faults", "/state",
    "/_sandbox/events", "/_sandbox/requests", "/_sandbox/report",
    "/_sandbox/report.csv", "/_sandbox/faults", "/_sandbox/leniencies",
)  # fmt: skip
CHANGE = (
    ("POST", "/_sandbox/reset"),
    ("POST", "/_sandbox/faults"),
    ("DELETE", "/_sandbox/faults"),
    ("POST", "/reset"),
    ("POST", "/faults"),
)

REBOUND = (
    "evil.example", "evil.example:{port}", "127.0.0.1.evil.example",
    "localhost.evil.example", "localhost:{port}@evil.example",
    "evil.localhost.example", "notlocalhost.example",
    "127.0.0.1.nip.io:{port}", "sandbox.test", "0x7f.evil", "", "a b", "[evil]",
    "evil.example.", "localhost,evil.example", "127.0.0.1:{port}.evil.example",
)  # fmt: skip
"""Hosts that another site can have, with an address of this machine behind them."""

OWN_HOSTS = (
    "localhost", "localhost:{port}", "LOCALHOST:{port}", "localhost.", "127.0.0.1",
    "127.0.0.1:{port}", "[::1]:{port}", "192.0.2.7:{port}", "shop.localhost:{port}",
    "testserver", "sandbox:{port}",
)  # fmt: skip

FROM_ELSEWHERE: dict[str, Headers] = {
    "another origin": {"Origin": EVIL},
    "no origin": {"Origin": "null"},
    "an empty origin": {"Origin": ""},
    "another port": {"Origin": "http://{place}0"},
    "a longer name": {"Origin": "http://{place}.evil.example"},
    "the host as a user": {"Origin": "http://{place}@evil.example"},
    "the host as a path": {"Origin": "http://evil.example/{place}"},
    "two origins": {"Origin": "http://{place} http://evil.example"},
    "a forwarded host": {"Origin": EVIL, "X-Forwarded-Host": "evil.example"},
    "another site": {"Sec-Fetch-Site": "cross-site"},
    "another port's page": {"Sec-Fetch-Site": "same-site"},
    "a word of its own": {"Sec-Fetch-Site": "SAME-ORIGIN"},
    "its own origin, but another site": {
        "Origin": "http://{place}",
        "Sec-Fetch-Site": "cross-site",
    },
    "another origin, but the same site": {
        "Origin": EVIL,
        "Sec-Fetch-Site": "same-origin",
    },
    "a form that navigates": {
        "Origin": EVIL,
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
    },
    "a form's null": {"Origin": "null", "Sec-Fetch-Mode": "navigate"},
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox()
    with listen() as listener, running(sandbox, listener):
        sandbox.address = address_of(listener)
        yield sandbox


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[httpx.Client]:
    """A sandbox with one fetch, one event and one fault."""
    with httpx.Client(base_url=sandbox.address, trust_env=False) as client:
        sandbox.reset()
        for path, body in (("fetch", {}), ("events", action())):
            client.post(f"/v1/experiences/{path}", json=body, headers=HEADERS)
        sandbox.fault("metadata", status=503)
        yield client


def filled(text: str, client: httpx.Client) -> str:
    place = client.base_url.netloc.decode()
    return text.format(place=place, port=client.base_url.port)


def state(sandbox: Sandbox) -> tuple[int, int, int]:
    return (
        len(sandbox.events),
        len(sandbox.faults.as_documents()),
        len(sandbox.requests.latest()),
    )


def assert_untold(answer: httpx.Response) -> None:
    assert answer.status_code in (400, 403)
    assert "access-control-allow-origin" not in answer.headers
    for secret in ("erin", "homepage-banner", "sandbox-key", "Tea & Thyme"):
        assert secret not in answer.text


def test_rebound_name_reads_and_changes_nothing(
    sandbox: Sandbox, client: httpx.Client
) -> None:
    before = state(sandbox)
    for host in REBOUND:
        headers = {"Host": filled(host, client), "Accept": "text/html"}
        for path in READ:
            assert_untold(client.get(path, headers=headers))
        for method, path in CHANGE:
            same = headers | {"Origin": f"http://{headers['Host']}"}
            answer = client.request(method, path, headers=same, json={"drop": True})
            assert_untold(answer)
    assert state(sandbox) == before


def test_names_of_this_machine_are_let_in(client: httpx.Client) -> None:
    for host in OWN_HOSTS:
        headers = {"Host": filled(host, client)}

        assert client.get("/_sandbox/requests", headers=headers).is_success, host
        headers["Origin"] = f"http://{headers['Host']}"
        assert client.post("/_sandbox/reset", headers=headers).is_success, host


def test_name_that_was_allowed_is_let_in(
    sandbox: Sandbox, client: httpx.Client
) -> None:
    headers = {"Host": "shop.dev:8000"}
    assert client.get("/_sandbox/events", headers=headers).status_code == 403

    sandbox.hosts.add("shop.dev")

    try:
        assert client.get("/_sandbox/events", headers=headers).status_code == 200
        # A proxy in front has another port, and TLS.
        headers["Origin"] = "https://shop.dev"
        assert client.post("/_sandbox/reset", headers=headers).status_code == 200
    finally:
        sandbox.hosts.clear()


def test_request_from_elsewhere_changes_nothing(
    sandbox: Sandbox, client: httpx.Client
) -> None:
    before = state(sandbox)
    for name, templates in FROM_ELSEWHERE.items():
        headers = {k: filled(v, client) for k, v in templates.items()}
        for method, path in CHANGE:
            answer = client.request(
                method, path, headers=headers, content=b"preset=outage"
            )

            assert answer.status_code == 403, (name, method, path)
            assert state(sandbox) == before, (name, method, path)


def test_page_of_another_site_reads_nothing_and_may_link(client: httpx.Client) -> None:
    frame = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
    for headers in (
        {"Origin": EVIL},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Site": "cross-site", **frame},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        for path in READ:
            assert_untold(client.get(path, headers=headers))
    for site in ("none", "same-origin", "same-site", "cross-site"):
        headers = {
            "Accept": "text/html",
            "Sec-Fetch-Site": site,
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-Dest": "document",
        }
        assert client.get("/explain?customer=alice", headers=headers).is_success, site


def test_api_itself_asks_for_credentials_alone(client: httpx.Client) -> None:
    for headers in (
        HEADERS | {"Host": "sandbox"},
        HEADERS | {"Origin": EVIL, "Sec-Fetch-Site": "cross-site"},
    ):
        answers = [
            client.post("/v1/experiences/fetch", json={}, headers=headers),
            client.get("/v1/experiences/metadata?x", headers=headers),
            client.post("/v1/experiences/events", json=action(), headers=headers),
        ]
        # The metadata's fault stands for an answer of its own, once.
        assert {one.status_code for one in answers} <= {200, 503}
        assert all("access-control-allow-origin" not in one.headers for one in answers)
    # What says nothing of anybody is not guarded.
    for path, status in (("/openapi.json", 200), ("/v1/experiences/nowhere", 404)):
        answer = client.get(path, headers={"Host": "sandbox:8787"})
        assert answer.status_code == status


def test_pages_of_sites_report_by_the_web_sdk_from_anywhere(
    sandbox: Sandbox, client: httpx.Client
) -> None:
    report: dict[str, Any] = {
        "app_id": "sandbox",
        "device_uuid": "aa886712-4537-47c1-b126-2686efda2e26",
        "action": "MOE_WEBP_MESSAGE_SHOWN",
        "attributes": CONTEXT,
    }
    headers = {"Origin": "http://shop.test:8000", "Sec-Fetch-Site": "cross-site"}

    script = client.get("/_sandbox/web_sdk.js", headers=headers)
    sent = client.post("/_sandbox/web_sdk/events", json=report, headers=headers)

    assert (script.status_code, sent.status_code) == (200, 204)
    assert len(sandbox.events) == 2


# --- other machines --------------------------------------------------------------


@contextmanager
def served(folder: Path, *options: str) -> Iterator[tuple[str, str]]:
    """Run the command; give what it printed and where this machine reaches it."""
    with sandbox_server(free_port(), folder, *options) as server:
        wait_for(lambda: "/v1/experiences/fetch" in server.log(), what="its welcome")
        yield server.log(), server.url


def test_sandbox_that_others_reach_asks_for_its_token(tmp_path: Path) -> None:
    page = {"Accept": "text/html"}
    with (
        served(tmp_path, "--host", "0.0.0.0") as (printed, address),
        httpx.Client(base_url=address, trust_env=False) as client,
    ):
        found = re.search(r"/\?token=(\S+)", printed)
        assert found is not None
        token = found[1]
        assert "Other machines may reach it" in printed
        for path in READ:
            assert client.get(path, headers=page).status_code == 401
        for method, path in CHANGE:
            assert client.request(method, path).status_code == 401
        assert client.get(f"/_sandbox/events?token={token}x").status_code == 401
        assert client.get("/v1/experiences/metadata", headers=HEADERS).is_success

        # A program sends it with every request, a browser once.
        bearer = {"Authorization": f"Bearer {token}"}
        assert client.post("/_sandbox/reset", headers=bearer).is_success
        assert client.get(f"/_sandbox/events?token={token}").is_success
        first = client.get(f"/events?token={token}&limit=5", headers=page)
        assert first.status_code == 303
        assert first.headers["location"] == f"{address}/events?limit=5"
        for part in ("HttpOnly", "SameSite=lax"):
            assert part in first.headers["set-cookie"]
        assert client.get(first.headers["location"], headers=page).is_success
        # The cookie is no pass for another site's page.
        assert client.post("/reset", headers={"Origin": EVIL}).status_code == 403


def test_token_may_be_chosen(tmp_path: Path) -> None:
    with served(tmp_path, "--token", "open sesame & co") as (printed, address):
        url = f"{address}/_sandbox/events"
        bearer = {"Authorization": "Bearer open sesame & co"}

        assert "/?token=open+sesame+%26+co" in printed
        assert httpx.get(url, trust_env=False).status_code == 401
        assert httpx.get(url, headers=bearer, trust_env=False).is_success
