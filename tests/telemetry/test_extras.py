"""Without the packages: an error that says what to install, and nothing imported."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner

from moe_middleware import MoEngageMiddleware, SettingsError
from moe_middleware.cli import main

CONFIG = """\
workspace: {data_center: sandbox}
routes: [{path: /, experiences: [hero1]}]
events: {outbox: "memory:"}
observability:
  %s: true
"""
MISSING = {
    "prometheus": "prometheus_client",
    "otel": "opentelemetry",
}


@pytest.mark.parametrize("extra", MISSING)
def test_a_missing_package_is_named_with_its_line_and_what_to_install(
    extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = MISSING[extra]
    for name in [*sys.modules]:
        if name.split(".")[0] == module or name == f"moe_middleware.telemetry.{extra}":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    file = tmp_path / "moe.yml"
    file.write_text(CONFIG % extra)

    checked = CliRunner().invoke(main, ["check", str(file)])
    with pytest.raises(SettingsError) as raised:
        MoEngageMiddleware(nothing, file)

    for text in (checked.output, str(raised.value)):
        assert f"moe.yml:5: observability.{extra}: " in text
        assert f"pip install 'moe_middleware[{extra}]'" in text
    assert checked.exit_code == 1


def test_an_import_without_the_package_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [*sys.modules]:
        if name.split(".")[0] == "openfeature" or ".openfeature" in name:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "openfeature", None)

    with pytest.raises(
        ImportError, match=r"pip install 'moe_middleware\[openfeature\]'"
    ):
        import_module("moe_middleware.openfeature")


def test_a_missing_folder_of_several_processes_is_a_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "missing"))
    file = tmp_path / "moe.yml"
    file.write_text(CONFIG % "prometheus")

    with pytest.raises(SettingsError, match=r"missing', which is no folder: make it"):
        MoEngageMiddleware(nothing, file)


async def nothing(*_: object) -> None: ...


def test_nothing_is_imported_where_nothing_is_turned_on(tmp_path: Path) -> None:
    file = tmp_path / "moe.yml"
    file.write_text(CONFIG.partition("observability")[0])
    program = (
        "import sys\n"
        "from moe_middleware import MoEngageMiddleware\n"
        "async def app(*_): ...\n"
        f"MoEngageMiddleware(app, {str(file)!r})\n"
        "wanted = {'prometheus_client', 'opentelemetry', 'openfeature'}\n"
        "print(wanted & {*sys.modules})"
    )

    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert ran.stdout.strip() == "set()"
