"""No log line has an id, a payload value, a secret or a password, whatever goes wrong.

Every value that must stay secret has a mark; everything is logged, tracebacks too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from moe_middleware import (
    AuthenticationError,
    Experiences,
    Settings,
    SettingsError,
    open_outbox,
)
from moe_middleware.cli.checks import check
from moe_middleware.client.failures import advice
from moe_middleware.sandbox import Sandbox

from ..sites import Site, rendered

MARK = "zQ7xQz"
ID = f"{MARK}-id"
SECRET = f"{MARK}-secret-of-more-than-thirty-two-characters"
PAYLOAD = {
    "Title": f"{MARK}-title",
    "Long": f"{MARK}-" + "x" * 50_000,
    "Link": f"javascript:{MARK}",
    "Path": f"/{MARK}?{MARK}={MARK}",
}

EVERYTHING = """
{% experience "hero" as hero %}
  {{ hero.Title }} {{ hero.Titel }} {{ hero.click_url(hero.Link, hero.Title) }}
  {{ hero.click_url(hero.Path, hero.Title) }} {{ hero.click_url("/x", hero.Long) }}
  {{ hero.click_url(hero.Long, hero.Long) }} {{ hero.attrs(hero.Title) }}
  {{ hero.attrs(hero.Long) }} {{ hero.click_url("https://" ~ hero.Title, "b") }}
{% endexperience %}
{% experience hero_less %}{% endexperience %}
{% experience "nothing-of-ours" %}{% endexperience %}
{{ moe_script() }}{{ moe_web_sdk() }}
"""

SETTINGS: dict[str, Any] = {
    "secret_key": SECRET,
    "identity": {
        "customer_id": {"cookie": "customer_id"},
        "user_identifiers": {"u_em": {"header": "X-Email"}},
    },
    "attributes": {
        "tier": {"call": "tests.attacks.test_marked_values:raises"},
        "size": {"call": "tests.attacks.test_marked_values:waits"},
        "query": {"query": "q"},
        "seen": {"session": "seen"},
        "plan": {"user": "plan"},
    },
    "consent": {"given_by": {"cookie": "consent"}},
    "routes": [{"path": "/{rest:path}", "experiences": ["hero", "not-there"]}],
}

FAULTS: list[dict[str, Any]] = [
    *({"status": status} for status in (400, 401, 403, 404, 413, 429, 500, 503)),
    {"garbage": True},
    {"drop": True},
]


def raises(visit: Any) -> str:
    raise ValueError(f"{MARK}: {visit.cookie('customer_id')}")


async def waits(visit: Any) -> str:
    raise KeyError(f"{MARK}: {visit.cookie('customer_id')}")


@pytest.fixture
def everything(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, logger="moe_middleware")
    return caplog


def assert_unmarked(caplog: pytest.LogCaptureFixture) -> set[str]:
    """Return the events that were logged, none of which has a mark."""
    formatter = logging.Formatter("%(name)s %(message)s")
    ours = [one for one in caplog.records if one.name.startswith("moe_middleware")]
    for record in ours:
        text = formatter.format(record)
        assert MARK.lower() not in text.lower(), text
        assert "%s" not in record.getMessage()
    return {record.getMessage().split()[0].rstrip(":") for record in ours}


def headers(**more: str) -> dict[str, str]:
    cookies = f"customer_id={ID}; consent=yes; moe_uuid={ID}; moe_visitor={ID}"
    given = {
        "cookie": cookies,
        "x-email": f"{MARK}@shop.example",
        "user-agent": f"Mozilla/5.0 {MARK}",
        "referer": f"http://shop.example/{MARK}",
        "x-forwarded-for": MARK,
    }
    return {**given, **more}


def site(handler: Any = None, **sections: Any) -> Site:
    return Site(
        handler or rendered(EVERYTHING),
        path="/{rest:path}",
        **{**SETTINGS, "fetch": {"tries": 1}, **sections},
    )


async def test_a_page_of_everything(
    sandbox: Sandbox, everything: pytest.LogCaptureFixture
) -> None:
    sandbox.customer(ID)
    sandbox.define("hero", PAYLOAD)
    shop = site()

    for query in ("/", f"/{MARK}?q={MARK}", "/%F0%28"):
        page = await shop.get(query, headers=headers())
        assert f"{MARK}-title" in page.text
    await shop.get("/", headers=headers(cookie=f"customer_id={ID}; consent={MARK}"))
    await shop.delivered()

    events = assert_unmarked(everything)
    assert {"value_failed", "click_not_counted"} <= events
    assert {"experience_not_requested", "experience_key_invalid"} <= events


@pytest.mark.parametrize("fault", FAULTS, ids=str)
async def test_every_failure_of_the_api(
    sandbox: Sandbox, everything: pytest.LogCaptureFixture, fault: dict[str, Any]
) -> None:
    sandbox.customer(ID)
    sandbox.define("hero", PAYLOAD)
    for path in ("fetch", "events", "metadata"):
        sandbox.fault(path, times=None, **fault)
    shop = site(metadata={"interval": 1}, log_ids="sha256")

    for number in range(12):
        await shop.get(f"/{number}", headers=headers())

    sandbox.reset()
    sandbox.define("hero", PAYLOAD)
    sandbox.fault("events", times=None, **fault)
    other = site()
    await other.get("/", headers=headers())
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(other.delivered(), 30)

    assert {"fetch_failed", "answered"} <= assert_unmarked(everything)


async def test_what_browsers_and_attackers_send(
    sandbox: Sandbox, everything: pytest.LogCaptureFixture
) -> None:
    sandbox.define("hero", PAYLOAD)
    shop = site()
    for path in ("c", "p", "e", "d", "b", "s", "preview", "events", "device"):
        for method in ("GET", "POST", "HEAD", "PUT"):
            for rest in (MARK, f"{MARK}/{MARK}?{MARK}={MARK}", ""):
                await shop.request(method, f"/_moe/{path}/{rest}", headers=headers())

    assert_unmarked(everything)


async def test_what_a_handler_hands_over(
    sandbox: Sandbox, everything: pytest.LogCaptureFixture
) -> None:
    sandbox.customer(ID)
    sandbox.define("hero", PAYLOAD)

    async def handler(request: Request) -> Response:
        found: Experiences = request.state.experiences
        hero = found["hero"]
        marked = {f"{MARK}": object(), "n": {MARK: {1, 2}}}
        for use in (
            lambda: found.track_click("hero", hero["Long"]),
            lambda: found.track_click("hero", hero["Title"], user_attributes=marked),
            lambda: found.track_impression("hero", user_attributes=marked),
            lambda: found.track_click(f"{MARK}-no-such-key", hero["Title"]),
            lambda: found.show("hero"),
            lambda: hero.click_url(object(), hero["Title"]),
            lambda: hero.click_url(hero["Path"], marked),
        ):
            with contextlib.suppress(Exception):
                use()
        found.forget()
        await found.fetch("hero")
        raise RuntimeError(MARK)

    await site(handler).get("/", headers=headers())

    records = [one for one in everything.records if "advice_on" not in one.message]
    assert all(f"{MARK}-id" not in one.getMessage() for one in records)
    assert all(f"{MARK}-title" not in one.getMessage() for one in records)


def test_addresses_keys_and_passwords(
    tmp_path: Path, everything: pytest.LogCaptureFixture
) -> None:
    redis = f"redis://{MARK}:{MARK}@127.0.0.1:9/0?password={MARK}"
    made = Settings(
        workspace={"id": "W", "api_keys": [MARK, f"{MARK}2"]},
        secret_key=SECRET,
        cache={"redis": redis},
        budget={"store": redis},
        events={"outbox": redis},
    )

    shown = [repr(made), str(made), made.model_dump_json(), f"{made.model_dump()}"]
    shown += [str(problem) for problem in check(made)]
    refused = AuthenticationError(status=401, title=MARK, description=MARK)
    outbox = open_outbox(made.events, workspace_id="W")
    shown += [repr(outbox), repr(vars(made)), advice(made.workspace, refused)]
    outbox.close()

    assert len(check(made)) == 3
    assert all(MARK not in one for one in shown)
    assert_unmarked(everything)


@pytest.mark.parametrize("place", ["api_key", "id", "secret_key", "redis", "base_url"])
@pytest.mark.parametrize(
    "value",
    [f"{MARK}\n{MARK}", f'"{MARK}"', f"${{{MARK}}}", f"${MARK}", [MARK, [MARK]]],
)
def test_a_refused_secret_is_not_shown(place: str, value: Any) -> None:
    workspace: dict[str, Any] = {"id": "W", "api_key": "k"}
    sections: dict[str, Any] = {}
    if place in ("api_key", "id"):
        workspace[place] = value
    elif place == "base_url":
        workspace[place] = f"http://{MARK}:{MARK}@127.0.0.1/{value}"
    elif place == "redis":
        sections["cache"] = {"redis": f"redis://:{MARK}/{value}@host:x/0"}
    else:
        sections["secret_key"] = value

    with pytest.raises(SettingsError) as caught:
        Settings(workspace=workspace, **sections)

    assert MARK not in str(caught.value)
    assert MARK not in repr(caught.value)
