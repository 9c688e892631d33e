"""What callers pass by mistake: the error says what to pass, and names no id."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import nan
from pathlib import Path
from typing import Any

import pytest

from moe_middleware import (
    Event,
    Experience,
    Experiences,
    Identity,
    InvalidRequestError,
    MemoryOutbox,
    MoEngageClient,
    Observer,
    SQLiteOutbox,
    SyncMoEngageClient,
    open_outbox,
)
from moe_middleware.sandbox import Sandbox
from moe_middleware.testing import deliver, sandboxed

from ..makers import CONTEXT

ANY: Any = ["x"]
HERO = Experience(key="hero", payload={"Title": "x"}, experience_context=CONTEXT)
SHOWN = Event.impression(HERO, "an-id")
WRONG: Any = "shown"


@pytest.fixture
def client(sandbox: Sandbox) -> MoEngageClient:
    return MoEngageClient(data_center="sandbox")


def odd(**ids: Any) -> Identity:
    return Identity(**ids)


def enter_sandboxed(workspace: Any) -> object:
    return sandboxed(workspace).__enter__()


IDENTITY = r"Identity\(customer_id=\.\.\.\)"
MAPPING = r"\{'utm_medium': 'email'\}"
KEYS = r"\['homepage-banner'\]"
SECONDS = r"as in 0\.5"
MADE = r"Event\.impression"


@pytest.mark.parametrize(
    ("given", "about"),
    [
        ({"identity": "an-id"}, f"identity is of type str: .*{IDENTITY}"),
        ({"identity": {"customer_id": "an-id"}}, f"of type dict: .*{IDENTITY}"),
        ({"identity": Identity}, f"the class Identity: .*{IDENTITY}"),
        ({"identity": odd(customer_id=77123)}, "customer_id is of type int"),
        ({"identity": odd(user_identifiers="an-id")}, "user_identifiers is of"),
        ({"keys": None}, f"keys is None: .*{KEYS}"),
        ({"keys": 5}, f"keys is of type int: .*{KEYS}"),
        ({"keys": b"hero"}, f"keys is of type bytes: .*{KEYS}"),
        ({"keys": "hero"}, r"write \['hero'\], a list"),
        ({"keys": ["hero", ["hero"]]}, f"keys contains .* of type list: .*{KEYS}"),
        ({"keys": [HERO]}, f"keys contains .* of type Experience: .*{KEYS}"),
        ({"keys": [None]}, "keys contains .* None"),
        ({"attributes": "email"}, f"attributes is of type str: .*{MAPPING}"),
        ({"attributes": None}, f"attributes is None: .*{MAPPING}"),
        ({"timeout": "3"}, f"timeout is of type str: .*{SECONDS}"),
        ({"timeout": True}, f"timeout is of type bool: .*{SECONDS}"),
    ],
)
async def test_a_fetch_names_what_to_pass(
    client: MoEngageClient, given: dict[str, Any], about: str
) -> None:
    with pytest.raises(TypeError, match=about) as raised:
        await client.fetch(**({"keys": ["hero"]} | given))
    assert "an-id" not in str(raised.value)
    assert "77123" not in str(raised.value)


async def test_texts_and_mappings_of_frameworks_are_keys(
    client: MoEngageClient, sandbox: Sandbox
) -> None:
    class Lazy:
        def __str__(self) -> str:
            return "hero"

    sandbox.define("hero", {"Title": "x"})

    found = await client.fetch(iter([Lazy()]))  # type: ignore[arg-type]

    assert found["hero"].payload == {"Title": "x"}


@pytest.mark.parametrize(
    ("given", "about"),
    [
        (["an-id"], f"events contains .* of type str: .*{MADE}"),
        ([{"customer_id": "an-id"}], f"of type dict: .*{MADE}"),
        ([None], f"events contains .* None: .*{MADE}"),
        ([HERO], f"of type Experience: .*{MADE}"),
        ("an-id", f"of type str: .*{MADE}"),
        (None, f"events is None: .*{MADE}"),
        (SHOWN, r"this is one event: write \[event\]"),
        ([replace(SHOWN, action=WRONG)], f"of an unknown action: .*{MADE}"),
    ],
)
async def test_events_differ_from_other_records(
    client: MoEngageClient, tmp_path: Path, given: Any, about: str
) -> None:
    with pytest.raises(TypeError, match=about):
        await client.report(given)
    outboxes = (
        *(MemoryOutbox(), SQLiteOutbox(str(tmp_path / "outbox.db"))),
        open_outbox("redis://127.0.0.1:1"),
    )
    for outbox in outboxes:
        with pytest.raises(TypeError, match=about) as raised:
            outbox.append(given)
        assert "an-id" not in str(raised.value)
        assert (await MemoryOutbox().count()).unsaved == 0
        outbox.close()


NO_IDENTITY: Any = {"identity": "an-id"}


@pytest.mark.parametrize(
    ("call", "given", "kind", "about"),
    [
        (Event.impression, ["hero", "x"], TypeError, "experience is of type str"),
        (Event.click, [None, "x"], TypeError, "experience is of type NoneType"),
        (Event.impression, [HERO, None], TypeError, "reporting_id"),
        (Event.impression, [HERO, 77123], TypeError, "of type int: .*as text"),
        (Event.impression, [HERO, ""], TypeError, "customer_id is empty"),
        (Experiences, ["hero"], TypeError, "Experiences takes experiences"),
        (Experiences, [{"hero": HERO}], TypeError, "takes experiences"),
        (partial(Experiences, **NO_IDENTITY), [], TypeError, IDENTITY),
        (open_outbox, [None], TypeError, "open_outbox"),
        (open_outbox, ["here"], ValueError, "sqlite:///moe.db"),
        (deliver, [nan], ValueError, "timeout is NaN"),
        (deliver, ["3"], TypeError, "timeout is of type str"),
        (enter_sandboxed, [{}], TypeError, "workspace is of type dict"),
        (Sandbox, [5], TypeError, "workspace is of type int"),
        (Sandbox().customer, [77123], TypeError, "of type int: .*as text"),
        (Sandbox().define, [5, {}], TypeError, "key is of type int"),
        (Sandbox().define, ["h", "x"], TypeError, "payload of 'h' is of type str"),
        (Sandbox().define, ["h", [{}, 5]], TypeError, "is of type int"),
        (Sandbox().define, ["h", None], TypeError, "is of type NoneType"),
        (partial(Sandbox().define, to=ANY), ["h", {}], TypeError, "to is of type list"),
        (MoEngageClient, [5], ValueError, "int is no configuration"),
    ],
)
def test_makers_and_test_helpers_name_what_to_pass(
    call: Callable[..., object], given: list[Any], kind: type[Exception], about: str
) -> None:
    with pytest.raises(kind, match=about) as raised:
        call(*given)
    assert "77123" not in str(raised.value)


async def test_the_rest_of_a_client_names_what_to_pass(client: MoEngageClient) -> None:
    with pytest.raises(InvalidRequestError, match="JSON has no form for one of its"):
        await client.report([replace(SHOWN, user_attributes={"plan": {1}})])
    with pytest.raises(TypeError, match=r"statuses contains .* of type int"):
        await client.metadata([1])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="timeout is NaN"):
        await client.fetch(["hero"], timeout=nan)
    for keys in ([], ["a-key"], "a-key"):
        with pytest.raises(TypeError, match="SecretStr") as raised:
            client.use_keys(keys)  # type: ignore[arg-type]
        assert "a-key" not in str(raised.value)
    parts: list[Any] = [{"observer": print}, {"observer": Observer}, {"budget": 5}]
    about = r"inherits from moe_middleware\.Observer|budget is of type int"
    for kind in (MoEngageClient, SyncMoEngageClient):
        for part in parts:
            with pytest.raises(TypeError, match=about):
                kind(data_center="sandbox", **part)


async def test_an_observer_that_raises_spoils_no_call_of_a_client(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    class Raising(Observer):
        def called(self, endpoint: str, seconds: float, outcome: str) -> None:
            raise RuntimeError("an-id")

    client = MoEngageClient(data_center="sandbox", observer=Raising())

    assert await client.metadata() is not None
    assert "observer_failed method=called error=RuntimeError" in caplog.text
    assert "an-id" not in caplog.text


async def test_an_outbox_takes_seconds_only(tmp_path: Path) -> None:
    outbox = SQLiteOutbox(str(tmp_path / "outbox.db"))
    outbox.append([SHOWN])
    with pytest.raises(ValueError, match="timeout is NaN"):
        outbox.close(timeout=nan)
    with pytest.raises(ValueError, match="timeout is NaN"):
        await outbox.health(timeout=nan)

    assert (await outbox.health(timeout=20)).writable
    outbox.close()
