"""The README, run: each section is followed to the letter, in an empty folder.

A section stands on the first one that has code, "Ten lines", and on nothing else.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from moe_middleware import Reason, Settings
from moe_middleware.cli import main
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

from .documents import FENCE, MAKEFILE, VALUES, Block, Document, Newcomer, newcomer
from .rows import each

__all__ = ["newcomer"]

DOCUMENT = Document("README.md")
README, SECTIONS, BLOCKS = DOCUMENT.text, DOCUMENT.sections, DOCUMENT.blocks
START = "Ten lines to a personalised page"


@pytest.mark.parametrize("section", [name for name in SECTIONS if SECTIONS[name]])
def test_section_does_what_it_shows(
    section: str, newcomer: Newcomer, sandbox: Sandbox
) -> None:
    newcomer.scripts = DOCUMENT.scripts
    if section != START:
        for block in SECTIONS[START]:
            newcomer.follow(block)
        newcomer.restart()
        sandbox.reset()
    for block in SECTIONS[section]:
        newcomer.follow(block)

    assert not newcomer.unused, "files that no command uses"


def test_every_block_is_seen_and_only_the_drawing_is_not_run() -> None:
    fences = re.findall(r"^\s*(?:```|~~~).*$", README, re.M)
    prose = FENCE.sub("", README)

    assert len(fences) == 2 * len(BLOCKS)
    assert [line for line in prose.splitlines() if line.startswith("    ")] == []
    assert [block.kind for block in BLOCKS].count("text") == 1


def test_two_commands_stand_at_the_top() -> None:
    assert SECTIONS["the top"][0].text == "$ make demo\n$ make test\n"


def test_ten_lines_are_ten() -> None:
    first = next(block for block in BLOCKS if block.kind == "python")
    code = [line for line in first.text.splitlines()[1:] if line]

    assert len(code) == 10
    assert max(map(len, code)) <= 88


def test_users_test_has_ten_lines_at_most() -> None:
    (block,) = (one for one in BLOCKS if one.file == "test_app.py")
    code = [line for line in block.text.splitlines()[1:] if line]

    assert len(code) <= 10


def test_every_hand_of_the_sandbox_is_there() -> None:
    table = README.partition("## In your own tests")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.*?) \|", table, re.M)
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
    told = {*Settings.model_fields} - {"identity", "attributes", "routes"}
    for name in told:
        assert getattr(loaded, name) == getattr(plain, name)
    assert loaded.identity.model_dump(exclude=examples) == plain.identity.model_dump(
        exclude=examples
    )


def _whole_file() -> Block:
    blocks = SECTIONS["Settings: `moe.yml`"]
    return next(block for block in blocks if block.file == "moe.yml")


@pytest.mark.parametrize("variable", [*VARIABLES, "MOE_CONFIG"])
def test_every_variable_is_named(variable: str) -> None:
    assert f"`{variable}`" in README


def test_every_reason_has_a_row() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", README, re.M)

    assert sorted(rows) == sorted(Reason)


def test_every_command_has_a_row() -> None:
    rows = re.findall(r"^\| `moe-middleware (\w+)", README, re.M)

    assert sorted(rows) == sorted(main.commands)


def test_every_make_target_is_named() -> None:
    assert [name for name in MAKEFILE if f"`make {name}" not in README] == []


def test_nothing_is_counted_where_no_id_is_wanted(
    newcomer: Newcomer, sandbox: Sandbox
) -> None:
    for block in SECTIONS[START][1:]:
        newcomer.follow(block)
    wish = next(b for b in SECTIONS["Who the visitor is"] if "anonymous: off" in b.text)
    newcomer.follow(wish)
    sandbox.reset()
    home = "http://127.0.0.1:8000/"

    answer = newcomer.visit("GET", home, {"Cookie": "moe_uuid=3f0c-the-web-sdks"})

    assert "<h1>" in answer.text
    assert "set-cookie" not in answer.headers
    assert sandbox.events == []
