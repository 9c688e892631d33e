"""The wheel and the sdist: all files are in them, and the wheel works elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def files_below(*folders: str) -> set[str]:
    """Return the files of the repository's folders, as paths from its root."""
    return {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and not path.suffix.startswith(".db")
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel is installed, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    [wheel] = built.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install"]
    subprocess.run(
        [
            *pip,
            "--no-index",
            "--no-deps",
            "--no-compile",
            "--target",
            str(folder),
            str(wheel),
        ],
        check=True,
        capture_output=True,
    )
    return folder


def run(command: list[str], installed: Path, folder: Path) -> str:
    environ = {**os.environ, "PYTHONPATH": str(installed)}
    ran = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_wheel_has_the_package_and_nothing_else(built: Path) -> None:
    [wheel] = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        names = {name for name in opened.namelist() if ".dist-info/" not in name}

    assert names == files_below("moe_middleware")


def test_the_sdist_has_all_files_of_the_repository(built: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("not in a git repository")
    [sdist] = built.glob("*.tar.gz")
    with tarfile.open(sdist) as opened:
        names = {member.name.partition("/")[2] for member in opened if member.isfile()}

    tracked = {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}
    assert sorted(tracked - names) == [], (
        "pyproject.toml, [tool.hatch...sdist], include"
    )


def test_the_wheel_works_from_elsewhere(installed: Path, tmp_path: Path) -> None:
    [script] = installed.glob("*/moe-middleware*")
    command = [str(script), "sandbox", "--write-sample", "workspace.yml"]

    run(command, installed, tmp_path)

    assert "homepage-banner" in (tmp_path / "workspace.yml").read_text()


ENTRY_POINTS = """
import sys
from importlib.metadata import Distribution
from pathlib import Path
import moe_middleware
print(moe_middleware.__file__)
[path] = Path(sys.argv[1]).glob("*.dist-info")
for one in Distribution.at(path).entry_points:
    print(one.group, one.name, one.load() is not None)
"""


def test_its_entry_points_are_there(installed: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", ENTRY_POINTS, str(installed)]

    file, *points = run(command, installed, tmp_path).splitlines()

    assert Path(file).is_relative_to(installed)
    assert points == [
        "console_scripts moe-middleware True",
        "pytest11 moe_middleware True",
    ]
