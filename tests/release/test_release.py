"""``make release``: what it refuses, and which files it misses or finds stray.

Each test has a small project of the same form, in a repository of its own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from release.builds import digests
from release.commands import git
from release.contents import differences
from release.refusals import refusals
from release.smoke import CHECKS, MODULES

ROOT = Path(__file__).parent.parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
GOOD = "## [1.2.3] - 2026-01-31\n\n[1.2.3]: https://shop.example/v1.2.3\n"
FILES = {
    "moe_middleware/__init__.py": "",
    "moe_middleware/version.py": '__version__ = "1.2.3"\n',
    "moe_middleware/page.css": "h1 {}\n",
    "pyproject.toml": """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "moe_middleware"
dynamic = ["version"]
requires-python = ">=3.11"
license-files = ["LICENSE"]
[project.scripts]
moe-middleware = "moe_middleware:main"
[tool.hatch.version]
path = "moe_middleware/version.py"
[tool.hatch.build.targets.sdist]
include = ["/moe_middleware", "/CHANGELOG.md", "/LICENSE"]
""",
    "CHANGELOG.md": GOOD,
    "LICENSE": "Take it.\n",
    ".gitignore": "dist/\n",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that can be released."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    git(tmp_path, "init", "--quiet")
    commit(tmp_path)
    return tmp_path


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    author = ("-c", "user.name=Ada", "-c", "user.email=ada@shop.example")
    git(folder, *author, "commit", "--quiet", "--message", "A change")


def build(folder: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-d", "dist"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "dist"


def test_a_project_that_is_ready_is_not_refused(project: Path) -> None:
    git(project, "tag", "v1.2.3")

    assert refusals(project) == []


@pytest.mark.parametrize(
    ("changelog", "reason"),
    [
        (GOOD.replace("1.2.3", "1.3.0"), "its newest version is 1.3.0, but"),
        (f"## [Unreleased]\n\n{GOOD}", "its newest version is Unreleased, but"),
        (GOOD.replace("2026-01-31", "Unreleased"), "the date of 1.2.3 is 'Unreleased'"),
        (GOOD.replace(" - 2026-01-31", ""), "the date of 1.2.3 is None"),
        (GOOD.partition("\n")[0], "the link of [1.2.3] is missing"),
        ("# Changelog\n", "a heading '## [VERSION] - DATE' is missing"),
    ],
)
def test_a_changelog_of_another_version_is_refused(
    project: Path, changelog: str, reason: str
) -> None:
    (project / "CHANGELOG.md").write_text(changelog)
    commit(project)

    found = refusals(project)

    assert any(one.startswith(f"CHANGELOG.md: {reason}") for one in found), found


def test_what_is_not_committed_is_refused(project: Path) -> None:
    (project / "moe_middleware" / "page.css").write_text("h2 {}\n")
    for n in range(6):
        (project / f"note-{n}.txt").write_text("?")

    [reason] = refusals(project)

    assert reason.startswith("git: commit or remove first: moe_middleware/page.css, ")
    assert reason.endswith("note-3.txt and 2 more")


def test_a_version_that_was_released_before_is_refused(project: Path) -> None:
    git(project, "tag", "v1.2.3")
    (project / "moe_middleware" / "page.css").write_text("h2 {}\n")
    commit(project)

    [reason] = refusals(project)

    assert "v1.2.3 is the tag of another commit" in reason


def test_a_refused_release_makes_nothing(project: Path) -> None:
    shutil.copytree(ROOT / "release", project / "release")
    (project / "CHANGELOG.md").write_text(GOOD.replace("1.2.3", "1.2.4"))

    ran = subprocess.run(
        [sys.executable, "-m", "release"], cwd=project, capture_output=True, text=True
    )

    assert ran.returncode == 1
    assert "not yet: git: commit or remove first: CHANGELOG.md, release/" in ran.stdout
    assert "not yet: CHANGELOG.md: its newest version is 1.2.4, but" in ran.stdout
    assert ran.stderr == "Nothing was made.\n"
    assert not (project / "dist").exists()


def test_packages_with_the_files_of_git_are_right(project: Path) -> None:
    assert differences(project, build(project)) == []


def test_files_that_are_missing_or_stray_are_found(project: Path) -> None:
    (project / "Makefile").write_text("all:\n")
    (project / "moe_middleware" / "notes.txt").write_text("?")
    git(project, "add", "Makefile")
    text = FILES["pyproject.toml"]
    wheel = '[tool.hatch.build.targets.wheel]\nexclude = ["*.css"]\n'
    (project / "pyproject.toml").write_text(text + wheel)

    found = differences(project, build(project))

    assert [one.replace("-py3-none-any.whl", ".whl") for one in found] == [
        "moe_middleware-1.2.3.tar.gz: Makefile is missing",
        "moe_middleware-1.2.3.tar.gz: moe_middleware/notes.txt is a stray file: "
        "git does not have it",
        "moe_middleware-1.2.3.whl: moe_middleware/page.css is missing",
        "moe_middleware-1.2.3.whl: moe_middleware/notes.txt is a stray file: "
        "git does not have it",
    ]


def test_digests_tell_two_builds_apart(project: Path) -> None:
    before = digests(build(project))
    (project / "moe_middleware" / "page.css").write_text("h2 {}\n")

    after = digests(build(project))

    assert {*before} == {
        "moe_middleware-1.2.3.tar.gz",
        *(n for n in after if "whl" in n),
    }
    assert all(before[name] != after[name] for name in before)


def test_every_extra_has_a_smoke_test() -> None:
    extras = {*PROJECT["project"]["optional-dependencies"]}

    assert {*MODULES} == extras - {"all"}
    assert {*CHECKS} == {"base", *MODULES}
