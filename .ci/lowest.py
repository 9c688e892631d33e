"""Print what ``make test-lowest`` installs: the lowest versions that we allow.

They stand for the package's own needs and its extras'. Everything else is as in
constraints.txt, but for tools whose known versions refuse the lowest ones.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent

OLDER_TOOLS = {
    "anyio": "4.14.0",  # starlette's TestClient uses a name that later ones deprecate
    "celery": "5.5.3",  # later ones want click 8.3
    "check-jsonschema": "0.33.0",  # later ones want click 8.5
    "fastapi": "0.115.8",  # its starlette
    "flask": "3.0.3",  # later ones want itsdangerous 2.2
    "kombu": "5.5.4",  # the celery above
    "opentelemetry-sdk": "1.39.0",  # it wants the opentelemetry-api of its version
    "opentelemetry-semantic-conventions": "0.60b0",  # likewise
    "pydantic-core": "2.27.0",  # pydantic wants this one exactly
    "pytest": "8.4.2",  # later ones deprecate a name that this anyio uses
    "ruamel-yaml": "0.18.10",  # the check-jsonschema above
    "websockets": "13.1",  # uvicorn imports what later ones deprecate
}
LEFT_OUT = {"httpx2", "httpcore2"}
"""Only the TestClient of a new Starlette needs them."""

_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?>=([0-9][^,;\s]*)")


def main() -> None:
    """Print a requirement a line."""
    versions = {**known(), **OLDER_TOOLS, **floors()}
    for name in sorted(versions.keys() - LEFT_OUT):
        print(f"{name}=={versions[name]}")


def known() -> dict[str, str]:
    """Return the versions of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line.split("==") for line in lines if not line.startswith("#")]
    return {_normal(name): version for name, version in pins}


def floors() -> dict[str, str]:
    """Return the lowest versions of what the package and its extras need."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"]]
    for requirements in project["optional-dependencies"].values():
        wanted += requirements
    found = {}
    for requirement in wanted:
        if requirement.startswith(project["name"]):
            continue
        matched = _REQUIREMENT.match(requirement)
        if matched is None:
            sys.exit(f"pyproject.toml: {requirement!r}: give it a floor, NAME>=VERSION")
        found[_normal(matched[1])] = matched[2]
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main()
