"""What ``manage.py check`` says, and the log of a project without our app."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.core.wsgi import get_wsgi_application
from django.test.utils import override_settings

from ..alone import alone
from .project import AUTHENTICATION, COMMON, MIDDLEWARE, OURS, SESSIONS

GOOD = {
    "data_center": "sandbox",
    "routes": [{"path": "/shop/", "experiences": ["homepage-banner"]}],
    "events": {"outbox": "memory:"},
}


def found(**project: Any) -> list[tuple[str, str]]:
    """Return the ids and texts of our checks."""
    with override_settings(**{"MOENGAGE": GOOD, **project}):
        all_of_them = run_checks()
    return [
        (str(one.id).removeprefix("moe_middleware."), f"{one.msg} {one.hint}")
        for one in all_of_them
        if str(one.id).startswith("moe_middleware.")
    ]


def test_a_sound_project_has_no_fault() -> None:
    assert found() == []
    by_cookie = {**GOOD, "identity": {"customer_id": {"cookie": "id"}}}
    early = [OURS, SESSIONS, AUTHENTICATION]
    assert found(MOENGAGE=by_cookie, MIDDLEWARE=early) == []


@pytest.mark.parametrize(
    ("given", "name", "text"),
    [
        ({**GOOD, "routez": []}, "E001", "'routes'"),
        (12, "E001", "MOENGAGE is int"),
        ("gone/moe.yml", "E001", "gone/moe.yml"),
        (
            {**GOOD, "data_center": "03", "workspace_id": "W", "api_key": "k"}
            | {"base_url": "http://localhost:1/v2"},
            "W002",
            "/v1",
        ),
        (
            {**GOOD, "identity": {"customer_id": {"call": "tests.django.gone:f"}}},
            "E004",
            "tests.django.gone",
        ),
    ],
)
def test_the_settings_mistakes_are_listed(given: Any, name: str, text: str) -> None:
    [(known_as, message)] = found(MOENGAGE=given)

    assert known_as == name
    assert text in message


def test_each_mistake_is_named_by_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "moe.yml"
    file.write_text("workspace: {data_center: sandbox}\nroutez: []\ncache: {ttl: -1}\n")

    messages = sorted(message for _, message in found(MOENGAGE=file))

    assert len(messages) == 3
    for message, line in zip(messages, (1, 2, 3), strict=True):
        assert f"moe.yml:{line}: " in message


def test_a_variable_that_is_not_set_here_stops_no_command(tmp_path: Path) -> None:
    file = tmp_path / "moe.yml"
    file.write_text("workspace: {id: W, api_key: '${MOE_NOT_SET}'}\nroutes: []\n")

    [(known_as, message)] = found(MOENGAGE=file)

    assert known_as == "W001"
    assert "MOE_NOT_SET" in message


@pytest.mark.parametrize(
    ("middleware", "settings", "name", "text"),
    [
        ([SESSIONS, OURS, AUTHENTICATION], GOOD, "E002", AUTHENTICATION),
        (
            [OURS, SESSIONS],
            {**GOOD, "identity": {"customer_id": {"session": "id"}}},
            "E002",
            SESSIONS,
        ),
        ([*MIDDLEWARE, OURS], GOOD, "E003", "2 times"),
        ([SESSIONS, COMMON, AUTHENTICATION], GOOD, "W003", OURS),
        (
            [COMMON, OURS],
            {**GOOD, "attributes": {"plan": {"user": "plan"}}},
            "W004",
            AUTHENTICATION,
        ),
    ],
)
def test_the_order_of_middlewares_is_checked(
    middleware: list[str], settings: Any, name: str, text: str
) -> None:
    [(known_as, message)] = found(MIDDLEWARE=middleware, MOENGAGE=settings)

    assert known_as == name
    assert text in message


@pytest.mark.parametrize(
    "listed",
    [["no.such.Middleware", *MIDDLEWARE], [*MIDDLEWARE, "tests.django.sites.served"]],
)
def test_other_middlewares_are_left_to_django(listed: list[str]) -> None:
    assert found(MIDDLEWARE=listed) == []


def test_the_command_fails(tmp_path: Path) -> None:
    file = tmp_path / "moe.yml"
    file.write_text("workspace: {data_center: sandbox}\nroutez: []\n")

    with (
        override_settings(MOENGAGE=file),
        pytest.raises(SystemCheckError, match=r"moe_middleware.E001.*moe.yml:2: route"),
    ):
        call_command("check")


DJANGOS = "django.template.backends.django.DjangoTemplates"
LIBRARY = {"libraries": {"moengage": "moe_middleware.templatetags.moengage"}}
PROJECTS: list[tuple[list[str], list[dict[str, Any]]]] = [
    (["moe_middleware"], [{"BACKEND": DJANGOS}]),
    ([], [{"BACKEND": DJANGOS, "OPTIONS": LIBRARY}]),
    ([], []),
    ([], [{"BACKEND": DJANGOS}]),
    ([], [{"BACKEND": DJANGOS}]),
]


def start(installed: list[str], engines: list[dict[str, Any]]) -> None:
    with override_settings(
        INSTALLED_APPS=installed, TEMPLATES=engines, MIDDLEWARE=[OURS], MOENGAGE=GOOD
    ):
        get_wsgi_application()


def lines_on_a_missing_app() -> list[int]:
    """Start the projects one after the other; return how many lines there are then."""
    log = io.StringIO()
    logging.basicConfig(stream=log)
    lines = []
    for installed, engines in PROJECTS:
        start(installed, engines)
        lines.append(log.getvalue().count("django_app_missing"))
    return lines


def test_a_missing_app_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    # Alone, as this process may have logged it already.
    assert alone(lines_on_a_missing_app) == [0, 0, 0, 1, 1]

    for installed, engines in PROJECTS[:3]:
        start(installed, engines)
    assert "django_app_missing" not in caplog.text
