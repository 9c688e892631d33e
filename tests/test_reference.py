"""The reference names everything there is: settings, variables, reasons, commands."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import pytest
from pydantic import BaseModel

from moe_middleware import Reason, Settings
from moe_middleware.outbox.process_status import NO_RELAY, OUTBOX_PROBLEM, PROBLEMS
from moe_middleware.sandbox import Sandbox
from moe_middleware.settings.overrides import VARIABLES
from moe_middleware.settings.route_sections import Route
from moe_middleware.settings.sections import (
    BudgetSettings,
    CacheSettings,
    ClickSettings,
    EventSettings,
    FetchSettings,
    MetadataSettings,
    ObservabilitySettings,
)
from moe_middleware.settings.visitor_sections import (
    BotSettings,
    ConsentSettings,
    IdentitySettings,
)
from moe_middleware.settings.workspaces import Workspace

from .documents import TEN_LINES, VALUES, Block, Document, Newcomer, newcomer
from .reference_parts import PARTS, REFERENCE, with_part
from .rows import each

__all__ = ["newcomer"]

SETTINGS = Document("docs/reference/settings.md")


def test_every_hand_of_the_sandbox_is_there() -> None:
    rows = re.findall(r"^\| (.*?) \|", Document("docs/how-to/testing.md").text, re.M)
    names = re.findall(r"`(\w+)", " ".join(rows))

    assert [name for name in names if not hasattr(Sandbox, name)] == []
    assert {"define", "fault", "freeze", "impressions", "clicks"} <= {*names}


@each(
    "section",
    [
        *(Settings, Workspace, IdentitySettings, Route, FetchSettings),
        *(CacheSettings, BudgetSettings, MetadataSettings, ObservabilitySettings),
        *(EventSettings, BotSettings, ClickSettings, ConsentSettings),
    ],
)
def test_every_setting_is_shown(section: type[BaseModel]) -> None:
    shown = re.findall(r"^[ #-]*(\w+):", _whole_file().text, re.M)

    assert sorted({*section.model_fields} - {*shown}) == []


def test_values_shown_for_settings_are_their_defaults(tmp_path: Path) -> None:
    file = tmp_path / "moe.yml"
    file.write_text(_whole_file().text)

    loaded = Settings.load(file, environ=VALUES)

    plain = Settings(workspace_id="W1", api_key="k")
    examples = {"customer_id", "user_identifiers"}
    sections = {*Settings.model_fields} - {"identity", "attributes", "routes"}
    for name in sections:
        assert getattr(loaded, name) == getattr(plain, name)
    assert loaded.identity.model_dump(exclude=examples) == plain.identity.model_dump(
        exclude=examples
    )


def _whole_file() -> Block:
    return next(block for block in SETTINGS.blocks if block.file == "moe.yml")


@pytest.mark.parametrize("variable", [*VARIABLES, "MOE_CONFIG"])
def test_every_variable_is_named(variable: str) -> None:
    assert f"`{variable}`" in SETTINGS.text


def test_every_reason_has_a_row() -> None:
    text = Document("docs/reference/reasons.md").text

    assert sorted(re.findall(r"^\| `(\w+)` \|", text, re.M)) == sorted(Reason)


def test_every_reason_has_a_remedy() -> None:
    text = Document("docs/how-to/troubleshooting.md").text.partition("## By reason")[2]
    rows = re.findall(r"^\| (`.*?`) \|", text, re.M)

    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(Reason)


def test_every_problem_has_a_remedy() -> None:
    text = Document("docs/how-to/watching.md").text
    problems = {*PROBLEMS.values(), OUTBOX_PROBLEM, NO_RELAY}

    assert [one for one in problems if f"| `{one}` |" not in text] == []


def _known_version(name: str) -> bool:
    pins = (Path(__file__).parent.parent / "constraints.txt").read_text().splitlines()
    return f"{name}=={version(name)}" in pins


@pytest.mark.skipif(
    not (_known_version("click") and _known_version("pydantic")),
    reason="other versions of click and pydantic describe options in other words",
)
@pytest.mark.parametrize("name", PARTS)
def test_pages_have_what_the_code_says(name: str) -> None:
    file, make = PARTS[name]
    page = (REFERENCE / file).read_text(encoding="utf-8")

    assert with_part(page, name, make()) == page, "run 'make reference'"


def test_every_setting_has_a_heading() -> None:
    headings = {*re.findall(r"^###+ `([\w.\[\]]+)`", SETTINGS.text, re.M)}
    routes = [{"path": "/", "experiences": ["hero"]}]
    given = Settings(data_center="sandbox", routes=routes, consent={}).model_dump()
    wanted = {*given}
    for name, section in given.items():
        one = section[0] if name == "routes" else section
        if isinstance(one, dict) and name != "attributes":
            prefix = "routes[]" if name == "routes" else name
            wanted |= {f"{prefix}.{key}" for key in one}

    assert sorted(wanted - headings) == []
    assert len(wanted) > 60


def test_nothing_is_counted_where_no_id_is_wanted(
    newcomer: Newcomer, sandbox: Sandbox
) -> None:
    for block in Document(TEN_LINES).blocks[1:]:
        newcomer.follow(block)
    blocks = Document("docs/explanation/identity.md").blocks
    newcomer.follow(next(one for one in blocks if "anonymous: off" in one.text))
    sandbox.reset()
    home = "http://127.0.0.1:8000/"

    answer = newcomer.visit("GET", home, {"Cookie": "moe_uuid=3f0c-the-web-sdks"})

    assert "<h1>" in answer.text
    assert "set-cookie" not in answer.headers
    assert sandbox.events == []
