"""A wrong name, a missing or unreadable file: every command says the same of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from moe_middleware.cli import main

from ..cli_runner import cli_runner

SETTINGS = (
    "workspace: {data_center: sandbox}\n"
    "secret_key: a secret of sixteen or more\n"
    "routes: []\n"
)


def run(folder: Path, *args: str) -> tuple[int, str]:
    """Run a command in a folder that has a ``moe.yml``."""
    (folder / "moe.yml").write_text(SETTINGS)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        result = cli_runner().invoke(main, args)
    return result.exit_code, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("command", "code"),
    [("fetch", 0), ("explain", 1), ("types", 1), ("preview", 1)],
)
def test_a_misspelt_key_gets_the_near_one(
    tmp_path: Path, command: str, code: int
) -> None:
    ended, output = run(tmp_path, command, "homepage-baner")

    assert ended == code
    assert "did you mean 'homepage-banner'?" in output


def test_a_key_that_is_like_no_other_gets_none(tmp_path: Path) -> None:
    ended, output = run(tmp_path, "explain", "zzz")

    assert ended == 1
    assert "zzz: not in the workspace, which has homepage-banner, " in output
    assert "did you mean" not in output


@pytest.mark.parametrize(
    "command",
    [
        *("check", "fetch --config", "types --config", "status --config"),
        *("relay --once --config", "outbox status --config", "overlay --config"),
        *("plan --visitors 9 --config", "explain --workspace", "types --workspace"),
        "sandbox --workspace",
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, command: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.yml").write_text("")
    (tmp_path / "picture.yml").write_bytes(b"\x89PNG\xff\xfe")
    faults = {
        "gone.yml": "there is no such file, it was looked for in ",
        "folder": "is a directory: name the file in it",
        "empty.yml": "is empty: it needs a mapping",
        "picture.yml": "is not UTF-8 text: save it as UTF-8",
    }

    for name, fault in faults.items():
        ended, output = run(tmp_path, *command.split(), name)

        assert ended == 1, output
        assert output.startswith(name)
        assert fault in output


@pytest.mark.parametrize(
    ("there", "named", "near"),
    [
        ("moe.yaml", "moe.yml", True),
        ("shop.yml", "shp.yml", True),
        ("shop.txt", "shop.yml", False),
        ("other.yml", "shop.yml", False),
    ],
)
def test_a_missing_file_gets_the_near_one(
    tmp_path: Path, there: str, named: str, near: bool
) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / there).write_text(SETTINGS)

    ended, output = run(tmp_path, "check", str(Path("site") / named))

    assert ended == 1
    assert (f": did you mean {there!r}?" in output) == near


def test_a_folder_that_is_not_there_has_no_near_file(tmp_path: Path) -> None:
    ended, output = run(tmp_path, "check", "gone/moe.yml")

    assert ended == 1
    assert "did you mean" not in output


def test_options_that_take_pairs_are_refused_alike(tmp_path: Path) -> None:
    options = ("--profile", "--attribute", "--identifier")
    for words in (*(("explain", one) for one in options), ("fetch", "--attribute")):
        ended, output = run(tmp_path, *words, "tier")

        assert ended == 2
        assert "'tier' is not of the form NAME=VALUE" in output


def test_check_shows_no_data_center_where_an_address_overrides_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOE_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("MOE_WORKSPACE_ID", "W")
    monkeypatch.setenv("MOE_API_KEY", "k")

    _, output = run(tmp_path, "check")

    assert "data center  -, as base_url names the server" in output
