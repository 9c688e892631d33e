"""Installs a wheel in a new environment, tries it there, and lists what it holds."""

from __future__ import annotations

import json
import os
import sys
import venv
from pathlib import Path

from .commands import CommandError, run

SMOKE = Path(__file__).parent / "smoke.py"


class Environment:
    """A new environment with a wheel, one of its extras, and what they need.

    pip installs into it from outside, so that it holds nothing else.

    Args:
        folder: Where it is made.
        wheel: The wheel.
        extra: An extra's name; empty for none.
        constraints: The file of known versions.
    """

    def __init__(
        self, folder: Path, wheel: Path, extra: str, constraints: Path
    ) -> None:
        self._extra = extra
        venv.create(folder, with_pip=False)
        scripts = "Scripts" if os.name == "nt" else "bin"
        self._python = folder / scripts / "python"
        wanted = f"{wheel}[{extra}]" if extra else str(wheel)
        self._pip("install", "--quiet", "-c", str(constraints), wanted)
        self._pip("check")

    def try_out(self) -> None:
        """Run the smoke test of the extra.

        Raises:
            CommandError: It fails.
        """
        run(self._python, "-I", SMOKE, self._extra)

    def list_packages(self, pyproject: Path, version: str, file: Path) -> None:
        """Write a CycloneDX document of all packages, and compare it with its schema.

        Args:
            pyproject: The project's ``pyproject.toml``, for the package itself.
            version: The package's version, which that file does not have.
            file: What is written.
        """
        complete = file.with_name("pyproject.toml")
        text = pyproject.read_text(encoding="utf-8")
        known = text.replace('dynamic = ["version"]', f'version = "{version}"')
        complete.write_text(known, encoding="utf-8")
        command = (sys.executable, "-m", "cyclonedx_py", "environment", self._python)
        of = ("--pyproject", complete, "--mc-type", "library")
        options = ("--output-reproducible", "--validate", "--of", "JSON", "-o", file)
        run(*command, *of, *options)
        complete.unlink()
        described = json.loads(file.read_text())["metadata"]["component"]
        if described.get("version") != version:
            raise CommandError(f"{file.name} has the version {described}")

    def _pip(self, *arguments: str) -> None:
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
        run(*pip, "--python", self._python, *arguments)
