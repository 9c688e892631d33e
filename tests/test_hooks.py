"""docs/how-to/checks.md: the commit hook runs, the schema is fit for SchemaStore."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from moe_middleware import Settings

from .cli_runner import run
from .documents import ROOT, Document

SCHEMA = ROOT / "docs" / "moe.schema.json"
ENTRY: dict[str, Any] = json.loads((ROOT / "docs" / "schemastore.json").read_text())
[HOOK] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
COMMAND, *OPTIONS = shlex.split(HOOK["entry"])

FILE = """
workspace: {id: "${NOT_SET_ID}", api_key: "${NOT_SET_KEY}", data_center: "02"}
secret_key: "0123456789abcdef0123456789abcdef"
attributes: {a: {call: "nowhere:function"}}
cache: {redis: "redis://127.0.0.1:9/0"}
routes:
  - {path: /, experiences: [hero]}
"""


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MOE_WORKSPACE_ID", "MOE_API_KEY", "MOE_CONFIG", "MOE_DATA_CENTER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    Path("moe.yml").write_text(FILE)
    Path("page.html").write_text('{% experience "heroo" %}')


@pytest.mark.parametrize(
    ("change", "arguments", "code", "complaints"),
    [
        (("", ""), [], 0, []),
        (("[hero]", "hero"), [], 1, ["moe.yml:7: routes.0.experiences: 'hero'"]),
        (("redis:", "rediss:"), [], 1, ["moe.yml:5: cache.rediss: unknown key"]),
        (
            ("redis://127.0.0.1:9/0", "${NO}"),
            [],
            0,
            ["warning: moe.yml:5: cache.redis"],
        ),
        (("redis://127.0.0.1:9/0", "${NO T}"), [], 1, ["moe.yml:5: cache.redis: "]),
        (
            ("secret_key:", "rotes: 1\nsecret_key:"),
            [],
            1,
            ["moe.yml:3: rotes: unknown key 'rotes': did you mean 'routes'?"],
        ),
        (("", ""), ["--templates", "page.html"], 1, ["page.html:1: no route asks for"]),
        (("", ""), ["--live"], 2, ["Usage"]),
    ],
)
def test_the_hook_reads_the_file_alone(
    change: tuple[str, str], arguments: list[str], code: int, complaints: list[str]
) -> None:
    Path("moe.yml").write_text(FILE.replace(*change) if change[0] else FILE)

    result = run(*OPTIONS, *arguments)

    assert COMMAND == "moe-middleware"
    lines = result.stderr.splitlines()
    assert result.exit_code == code, lines
    assert [
        one[: len(complaint)] for one, complaint in zip(lines, complaints, strict=False)
    ] == (complaints)
    assert bool(lines) == bool(complaints)


def test_the_page_shows_the_hook_that_there_is() -> None:
    first, second = (
        yaml.safe_load(block.text)
        for block in Document("docs/how-to/checks.md").blocks
        if block.kind == "yaml"
    )
    [repo] = first["repos"]

    assert [hook["id"] for hook in repo["hooks"]] == [HOOK["id"]] == [second[0]["id"]]
    assert re.search(HOOK["files"], "deploy/moe.yaml")
    assert not re.search(HOOK["files"], "home.yml")
    assert re.search(second[0]["files"], "deploy/moe.yml")


def references(schema: object) -> Iterator[tuple[str, int]]:
    """Yield each reference, and how many keys stand beside it."""
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"], len(schema) - 1
        for inner in schema.values():
            yield from references(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from references(inner)


def test_the_committed_schema_is_the_settings() -> None:
    assert json.loads(SCHEMA.read_text()) == Settings.json_schema(), (
        "moe-middleware schema > docs/moe.schema.json"
    )


def test_the_schema_is_fit_for_schemastore() -> None:
    schema = Settings.json_schema()
    found = [*references(schema)]

    assert {place.rpartition("/")[0] for place, _ in found} == {"#/definitions"}
    assert {beside for _, beside in found} == {0}
    assert schema["$id"] == ENTRY["url"]
    assert ENTRY["fileMatch"] == ["moe.yml", "moe.yaml"]


def test_check_jsonschema_takes_the_schema_and_good_files() -> None:
    check = [sys.executable, "-m", "check_jsonschema"]
    good = [str(file) for file in (ROOT / "tests/settings/files/good").glob("*.yml")]
    bad = ROOT / "tests/settings/files/bad"
    typo = next(file for file in bad.glob("*.yml") if "unknown key" in file.read_text())

    subprocess.run([*check, "--check-metaschema", str(SCHEMA)], check=True)
    subprocess.run([*check, "--schemafile", str(SCHEMA), *good], check=True)
    refused = subprocess.run(
        [*check, "--schemafile", str(SCHEMA), str(typo)], capture_output=True
    )

    assert good
    assert refused.returncode == 1
