"""CONTRIBUTING.md, CHANGELOG.md and the pre-commit hooks: what they name is there."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from moe_middleware import __version__

from .documents import MAKEFILE
from .test_architecture import FOLDERS, PACKAGE, SANDBOX

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
_TREE = re.search(r"```text\nmoe_middleware/\n(.*?)```", GUIDE, re.S)
assert _TREE is not None
ROWS = [
    (len(indent), name)
    for indent, name in re.findall(r"^( +)([\w.]+/?)(?: |$)", _TREE[1], re.M)
]
"""Each row of the house: how far it stands in, and its name."""


def paths() -> set[str]:
    """Return all paths that the text names, in backticks or in a command."""
    prose = GUIDE.replace(_TREE[0], "") if _TREE else GUIDE
    quoted = re.findall(
        r"`([\w./-]*(?:/|\.(?:py|md|toml|txt|yml|yaml))[\w./-]*)`", prose
    )
    commands = re.findall(r"(?<![\w.])tests/[\w./]+", prose)
    return {*quoted, *commands}


def test_what_the_guide_names_is_there() -> None:
    built = {"moe.yml", "site/", "dist/"}
    assert [one for one in paths() - built if not (ROOT / one).exists()] == []
    assert len(paths()) > 30


def test_every_make_target_is_named() -> None:
    assert [name for name in MAKEFILE if f"`make {name}" not in GUIDE] == []


def test_the_house_is_the_package() -> None:
    top = [name for indent, name in ROWS if indent == 2]
    # By its modules: where one was, its bytecode may have stayed.
    modules = [path.relative_to(PACKAGE).parts for path in PACKAGE.rglob("*.py")]
    there = {f"{name}/" if inner else name for name, *inner in modules}
    there -= {"__init__.py"}

    assert len(top) == len({*top})
    assert {*top} == there


def test_the_house_is_in_the_order_of_imports() -> None:
    top = [name.removesuffix("/").removesuffix(".py") for n, name in ROWS if n == 2]
    inner = [name.removesuffix("/") for indent, name in ROWS if indent == 4]

    assert top == sorted(top, key=lambda name: _height(name, FOLDERS))
    assert inner == sorted(inner, key=lambda name: _height(name, SANDBOX))
    assert {*inner} == set().union(*SANDBOX)


def _height(name: str, layers: list[set[str]]) -> int:
    return next(n for n, layer in enumerate(layers) if name in layer)


def test_the_file_that_a_row_points_to_is_in_its_folder() -> None:
    rows = re.findall(r"^  (\w+)/ .*?(\w+\.py)", _TREE[1], re.M)  # type: ignore[index]

    assert [row for row in rows if not PACKAGE.joinpath(*row).exists()] == []


def test_the_changelog_has_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

    assert re.search(rf"^## \[{re.escape(__version__)}\]", changelog, re.M)


def test_pre_commit_checks_what_lint_checks() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    makefile = (ROOT / "Makefile").read_text()
    lint = re.findall(r"^(?:lint|\.checked):.*\n((?:\t.*\n)+)", makefile, re.M)
    checked = [
        line.split(" .")[0].replace("$(BIN)", ".venv/bin").replace(" --check", "")
        for line in "".join(lint).replace("\t", "").splitlines()
    ]

    [local] = config["repos"]
    entries = [hook["entry"].replace(" --force-exclude", "") for hook in local["hooks"]]

    assert local["repo"] == "local"
    assert sorted(entries) == sorted(checked)
