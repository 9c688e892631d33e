"""docs/reference/workspace.md: every block in it is loaded, every table compared."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator  # type: ignore[import-untyped]

from moe_middleware.cli import main
from moe_middleware.sandbox.workspace.file import parse_workspace, workspace_schema
from moe_middleware.sandbox.workspace.rules import Operator
from moe_middleware.sandbox.workspace.template_worker import Withheld
from moe_middleware.sandbox.workspace.templating import render
from moe_middleware.sandbox.workspace.workspace import Workspace

from ..cli_runner import cli_runner

TEXT = (Path(__file__).parents[2] / "docs/reference/workspace.md").read_text()


def blocks(language: str) -> Iterator[str]:
    yield from re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.M | re.S)


def indented(text: str, spaces: int) -> str:
    return "".join(f"{' ' * spaces}{line}" for line in text.splitlines(keepends=True))


def as_file(block: str) -> str:
    """A whole file around a block that shows a part of one."""
    name, _, rest = block.partition("\n")
    audience = {
        "# where": f"        where:\n{indented(rest, 10)}"
        "        variations: [{payload: {}}]\n",
        "# in_session": f"        in_session:\n{indented(rest, 10)}"
        "        variations: [{payload: {}}]\n",
        "# payload": f"        variations:\n          - payload:\n{indented(rest, 14)}",
    }
    if name == "# workspace.yml":
        return block
    return (
        "users: [{id: ada}]\nsegments: {Regulars: {users: [ada]}}\n"
        "experiences:\n  - key: homepage-banner\n    name: Homepage banner\n"
        f"    audiences:\n      - name: All Users\n{audience[name]}"
    )


FILES = [as_file(block) for block in blocks("yaml")]
SMALL, ALL, WHERE, IN_SESSION, PAYLOAD = FILES


def load(text: str) -> Workspace:
    return parse_workspace(text, file="workspace.yml", environ={})


@pytest.mark.parametrize(
    "text", FILES, ids=["small", "all", "where", "in_session", "payload"]
)
def test_file_is_good_to_us_and_to_editors(text: str) -> None:
    load(text)
    tree = yaml.load(text, yaml.BaseLoader)
    Draft7Validator(workspace_schema()).validate(as_yaml_1_2(tree))


def as_yaml_1_2(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: as_yaml_1_2(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [as_yaml_1_2(value) for value in tree]
    if re.fullmatch(r"true|false|[0-9]+(\.[0-9]+)?", tree):
        return yaml.safe_load(tree)
    return tree


def test_every_value_shown_as_a_default_is_one() -> None:
    workspace, bare = load(ALL), load("name: Sandbox")

    for name in ("name", "workspace_id", "api_keys", "timezone", "control_group",
                 "fetch_limit", "active_limit", "identity_resolution", "test_app_key",
                 "strict", "flat_ids", "iso_event_time", "millisecond_event_time",
                 "strict_platform", "unknown_app_is_401", "values_as_text",
                 "paused_as_empty_payload"):  # fmt: skip
        assert getattr(workspace, name) == getattr(bare, name), name


def test_every_key_of_the_file_is_shown() -> None:
    schema = workspace_schema()
    # The table of operators shows these: see the next test.
    conditions = (
        *("ConditionSection", "ClauseSection", "WhereSection"),
        "ParameterSection",
    )
    shown = {key for text in FILES for key in keys_of(yaml.load(text, yaml.BaseLoader))}

    for name, section in [("", schema), *schema["definitions"].items()]:
        if name not in conditions:
            assert set(section["properties"]) - shown <= {"database"}, name


def keys_of(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        yield from tree
        for value in tree.values():
            yield from keys_of(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from keys_of(value)


def test_every_operator_is_in_the_table() -> None:
    (table,) = re.findall(r"\| on \| operators \|\n(.*?)\n\n", TEXT, re.S)

    named = set(re.findall(r"`(\w+)", table)) - {"true", "false"}
    assert named == set(Operator)


def test_templates_give_what_the_table_says() -> None:
    (table,) = re.findall(r"\| template \| gives \|\n(.*?)\n\n", TEXT, re.S)
    templates = [
        text.replace("\\|", "|") for text in re.findall(r"^\| `(.*?)` \|", table, re.M)
    ]

    def given(**attributes: Any) -> list[str | None]:
        found: list[str | None] = []
        for text in templates:
            try:
                found.append(render(text, attributes))
            except Withheld:
                found.append(None)
        return found

    ada = {"First Name": "Ada", "orders": 3}
    assert given(**ada) == ["Ada", "Ada", "Ada", "Hello"]
    assert given(orders=1) == [None, "Guest", None, None]


def test_problems_are_reported_as_shown() -> None:
    (shown,) = blocks("text")
    status, shares = shown.splitlines()

    text = "\n" * 8 + (
        "experiences:\n  - {key: hello, name: Hello,\n     status: Actve,"
        "\n     audiences: [\n      {name: All,\n\n\n\n       variations: "
        "[{payload: {}, percent: 40}, {payload: {}, percent: 40}]}]}\n"
    )
    with pytest.raises(ValueError, match=r".") as caught:
        load(text)

    assert str(caught.value).splitlines() == [status, shares]


def test_commands_and_python_run_as_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    commands = [
        line.removeprefix("$ moe-middleware ").split(" > ")[0].split()
        for block in blocks("console")
        for line in block.splitlines()
    ]
    write, serve, schema = commands

    assert cli_runner().invoke(main, write).exit_code == 0
    printed = cli_runner().invoke(main, schema).output
    assert json.loads(printed) == workspace_schema()
    assert serve == ["sandbox", "--workspace", write[-1]]
    (program,) = blocks("python")
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout == "Tea & Thyme\n"
