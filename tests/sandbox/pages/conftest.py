"""A sandbox to look at: in process, and served on a real port for a real browser."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import uuid4

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect
from starlette.testclient import TestClient

from moe_middleware.sandbox import Sandbox
from moe_middleware.sandbox.listeners import listen
from tests.servers import PATIENCE

expect.set_options(timeout=PATIENCE * 1000)

HTML = {"Accept": "text/html,application/xhtml+xml"}


def impression(
    sandbox: Sandbox, customer_id: str = "erin", *, at: float | None = None, **more: str
) -> str:
    """Let the homepage's banner be seen, or clicked; return the event's uuid."""
    experience = sandbox.workspace.experiences[0]
    audience = experience.audiences[-1]
    variation_id = more.pop("variation_id", audience.variations[0].variation_id)
    uuid = more.pop("uuid", str(uuid4()))
    action = {
        "action": f"MOE_PERSONALIZATION_MESSAGE_{more.pop('what', 'SHOWN')}",
        "moe_event_uuid": uuid,
        "event_time": int(sandbox.clock() if at is None else at),
        "platform": "web",
        "attributes": {
            "cid": f"{experience.cid_token}_F_T_WP_AB_{variation_id}"
            f"_P_0_AU_{audience.audience_id}",
            "experience": experience.name,
            "moe_locale_id": "0",
            "moe_variation_id": variation_id,
            "audience_name": audience.name,
            "audience_id": audience.audience_id,
            **more,
        },
    }
    workspace = sandbox.workspace
    with TestClient(sandbox) as client:
        answer = client.post(
            "/v1/experiences/events",
            json={"elements": [{"customer_id": customer_id, "actions": [action]}]},
            headers={"MOE-APPKEY": workspace.workspace_id},
            auth=(workspace.workspace_id, workspace.api_keys[0]),
        )
    assert answer.status_code == 200, answer.text
    return uuid


Look = Callable[..., str]


@pytest.fixture
def look(sandbox: Sandbox) -> Look:
    """Return a function that opens a page and returns its HTML."""

    def look_at(path: str, status: int = 200, root_path: str = "") -> str:
        client = TestClient(sandbox, root_path=root_path)
        answer = client.get(path, headers=HTML)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        return answer.text

    return look_at


@dataclass(frozen=True, slots=True)
class Site:
    """A sandbox served to the browser."""

    sandbox: Sandbox
    address: str


@pytest.fixture
def site() -> Iterator[Site]:
    sandbox = Sandbox()
    listener = listen()
    config = uvicorn.Config(sandbox, log_level="warning", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    yield Site(sandbox, f"http://127.0.0.1:{listener.getsockname()[1]}")
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive(), "the server waits for a page that is open"


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    context = browser.new_context(
        base_url=site.address, viewport={"width": 1280, "height": 900}
    )
    context.set_default_timeout(PATIENCE * 1000)
    yield context.new_page()
    context.close()


@pytest.fixture
def console(page: Page) -> Iterator[list[str]]:
    """What the page complains of; whatever it is, the test fails for it."""
    complaints: list[str] = []
    page.on(
        "console",
        lambda message: (
            complaints.append(message.text)
            if message.type in ("error", "warning")
            else None
        ),
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield complaints
    assert complaints == []
