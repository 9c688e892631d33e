"""pyproject.toml's URLs and classifiers: real ones, and the same everywhere."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from trove_classifiers import classifiers

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())[
    "project"
]
URLS: dict[str, str] = PROJECT["urls"]
CLASSIFIERS: list[str] = PROJECT["classifiers"]
TEXTS = [
    ROOT / name
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
]
TEXTS += [
    path
    for path in [*ROOT.glob("*.yml"), *ROOT.glob("docs/**/*"), *ROOT.glob("llms*.txt")]
    if path.suffix in {".md", ".yml", ".txt", ".html"}
]

# Where a site of ours could be: another name of it is a mistake.
_OURS = re.compile(r"https?://[\w.-]+(?:/[\w./%~-]*)?", re.ASCII)


def ours(text: str) -> list[str]:
    """Return the text's addresses of the documentation and of the source."""
    found = (address.rstrip(".") for address in _OURS.findall(text))
    return [
        one
        for one in found
        if re.search(r"//moe.?middleware\.|(github|gitlab)[^/]*/[^/]+/moe.?mid", one)
    ]


def is_declared(address: str) -> bool:
    bases = (URLS["Documentation"].rstrip("/"), URLS["Source"])
    return any(address == base or address.startswith(f"{base}/") for base in bases)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_addresses_of_ours_are_those_of_the_project(path: Path) -> None:
    wrong = [one for one in ours(path.read_text()) if not is_declared(one)]

    assert wrong == [], "pyproject.toml, [project.urls], has the right ones"


@pytest.mark.parametrize(
    "address",
    [
        "https://github.com/someone/moe_middleware",
        "https://github.com/moe-middleware/moe-middleware/issues",
        "http://moe-middleware.readthedocs.io/en/latest",
        "https://moe_middleware.example.org/",
    ],
)
def test_another_address_would_be_found(address: str) -> None:
    found = ours(f"See [the page]({address}).")

    assert found == [address]
    assert not is_declared(address)


def test_links_to_files_lead_to_files() -> None:
    source = f"{URLS['Source']}/blob/main/"
    texts = "\n".join([path.read_text() for path in TEXTS] + [*URLS.values()])
    linked = {one.removeprefix(source) for one in ours(texts) if source in one}

    assert "CHANGELOG.md" in linked
    assert [one for one in linked if not (ROOT / one).exists()] == []


def test_classifiers_are_those_that_package_indexes_know() -> None:
    assert [one for one in CLASSIFIERS if one not in classifiers] == []
    assert sorted(CLASSIFIERS) == CLASSIFIERS


def test_every_python_is_named_that_may_install_it() -> None:
    named = {one.rpartition(" ")[2] for one in CLASSIFIERS if ":: 3." in one}
    tested = re.search(r"^PYTHONS \?= (.*)$", (ROOT / "Makefile").read_text(), re.M)
    assert tested is not None

    assert PROJECT["requires-python"] == f">={min(named, key=_minor)}"
    assert {f"python{one}" for one in named} == {"python3.11", *tested[1].split()}


def test_the_workflow_tests_each_of_them() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())
    jobs = workflow["jobs"]
    matrix = jobs["pythons"]["strategy"]["matrix"]["python"]
    first = jobs["test"]["container"].removeprefix("python:").partition("-")[0]
    made = re.findall(
        r"(?:make|\.ci/run) ([a-z-]+)",
        "\n".join(
            step.get("run", "") for job in jobs.values() for step in job["steps"]
        ),
    )

    named = {one.rpartition(" ")[2] for one in CLASSIFIERS if ":: 3." in one}
    assert {first, *matrix} == named
    assert {*made} == {"test-pythons", "rehearsal"}
    makefile = (ROOT / "Makefile").read_text()
    assert [one for one in made if f"\n{one}:" not in makefile] == []


def _minor(version: str) -> int:
    return int(version.partition(".")[2])


def test_a_python_that_is_missing_is_named_and_fails_nothing(tmp_path: Path) -> None:
    broken = tmp_path / "python3.98"
    broken.write_text("#!/bin/sh\nexit 127\n")
    broken.chmod(0o755)

    ran = subprocess.run(
        [str(ROOT / ".ci" / "pythons"), str(broken), "python3.99"],
        capture_output=True,
        text=True,
    )

    assert ran.returncode == 0
    assert f"not on this machine: {broken} python3.99" in ran.stdout
