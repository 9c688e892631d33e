"""``manage.py moe``: the commands with the project's own settings."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test.utils import override_settings

from moe_middleware.sandbox import Sandbox

from ..sites import settings

MAPPING = {
    "data_center": "sandbox",
    "routes": [{"path": "/shop/", "experiences": ["homepage-banner"]}],
    "events": {"outbox": "memory:"},
}


def moe(*args: str) -> str:
    output = io.StringIO()
    call_command("moe", *args, stdout=output)
    return output.getvalue()


def failing(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    with pytest.raises(SystemExit) as raised:
        call_command("moe", *args)
    assert raised.value.code == 1
    return capsys.readouterr().err


@pytest.mark.parametrize("kind", ["mapping", "file", "settings"])
def test_check_shows_what_the_setting_says(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "shop.yml"
    file.write_text(
        "workspace: {data_center: sandbox}\n"
        "routes: [{path: /shop/, experiences: [homepage-banner]}]\n"
        "events: {outbox: 'memory:'}\n"
    )
    given: dict[str, Any] = {
        "mapping": MAPPING,
        "file": file,
        "settings": settings(routes=MAPPING["routes"]),
    }

    with override_settings(MOENGAGE=given[kind]):
        assert "/shop/" in moe("check")


def test_fetch_asks_with_the_settings_of_the_project(sandbox: Sandbox) -> None:
    with override_settings(MOENGAGE=MAPPING):
        output = moe("fetch", "homepage-banner", "--customer", "alice", "--json")

    assert "The first flush is yours" in output


def test_outbox_looks_into_the_projects_outbox(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/shop.db"
    given = {**MAPPING, "events": {"outbox": address}}

    with override_settings(MOENGAGE=given):
        call_command("moe", "relay", "--once")
        assert address in moe("outbox", "status")


def test_a_function_may_need_the_apps() -> None:
    call = {"customer_id": {"call": "tests.django.test_users:mail_of"}}

    with override_settings(MOENGAGE={**MAPPING, "identity": call}):
        assert "/shop/" in moe("check")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {**MAPPING, "routes": [{"path": "shop", "experiences": ["a"]}]},
            "MOENGAGE: routes.0.path: ",
        ),
        (7, "MOENGAGE is int: set it to the path"),
        ("no-such-file.yml", "the setting MOENGAGE holds a mapping instead"),
    ],
    ids=["mapping", "kind", "missing"],
)
def test_what_is_wrong_names_the_setting(
    capsys: pytest.CaptureFixture[str], given: Any, message: str
) -> None:
    with override_settings(MOENGAGE=given):
        assert message in failing(capsys, "check")


def test_no_option_and_no_file_names_the_setting(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MOE_CONFIG", raising=False)

    with override_settings(MOENGAGE=None):
        message = failing(capsys, "check")

    assert "the setting MOENGAGE names it" in message


def test_a_command_that_is_none_says_so() -> None:
    with pytest.raises(CommandError, match="chekc"):
        moe("chekc")


def test_without_a_command_it_lists_them() -> None:
    assert "check" in moe()


@pytest.mark.parametrize("kind", ["mapping", "file"])
def test_an_option_goes_before_what_the_setting_says(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, other = (f"sqlite:///{tmp_path}/{name}.db" for name in ("shop", "other"))
    # Settings that the option does not name stay, and are checked.
    events = {"outbox": ours, "relay": "sometimes"}
    mapping = {
        "workspace": {"data_center": "sandbox"},
        "routes": MAPPING["routes"],
        "events": events,
    }
    file = tmp_path / "shop.yml"
    file.write_text(json.dumps(mapping))

    given: Any = {"mapping": mapping, "file": file}[kind]
    with override_settings(MOENGAGE=given):
        assert "events.relay: " in failing(capsys, "relay", "--once", "--outbox", other)

    events["relay"] = "on"
    file.write_text(json.dumps(mapping))
    with override_settings(MOENGAGE=given):
        assert f"delivering from {other}" in moe("relay", "--once", "--outbox", other)


def test_an_option_beside_ready_settings_is_refused_with_its_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with override_settings(MOENGAGE=settings(routes=MAPPING["routes"])):
        message = failing(capsys, "relay", "--once", "--outbox", "memory:")

    assert "set events.outbox in the Settings that are given" in message
