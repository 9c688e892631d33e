"""The direction of imports, the public names, and what an import must not load."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import moe_middleware

PACKAGE = Path(moe_middleware.__file__).parent
FOLDERS = [
    {"version", "wrapped_apps"},
    {"concurrency"},
    {"logs"},
    {"models"},
    {"settings"},
    {"routes"},
    {"network"},
    {"sandbox", "cache", "client"},
    {"outbox", "visitors"},
    {"browser"},
    {"telemetry", "planning"},
    {"personalizer"},
    {"asgi", "wsgi", "jinja", "openfeature", "errors", "preview_links"},
    {"flask", "quart", "django"},
    {"templatetags", "testing", "apps"},
    {"cli", "pytest_plugin"},
    {"management", "__main__"},
]
SANDBOX = [
    {"workspace"},
    {"decisions"},
    {"protocol"},
    {"memory"},
    {"reports"},
    {"pages"},
]
"""From low to high: a folder imports only lower ones."""


def modules() -> list[Path]:
    return [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


FILES = {name_of(path) for path in modules()}


parsed = functools.cache(lambda path: ast.parse(path.read_text()))


@functools.cache
def imports(path: Path) -> tuple[str, ...]:
    """Return what a module imports of ours, as names below the package."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    package = name_of(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            found = [*base, *(node.module.split(".") if node.module else [])]
            names = [".".join([*found, alias.name]) for alias in node.names]
            yield from (name if name in FILES else ".".join(found) for name in names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module.split(".")[0] == "moe_middleware":
                yield node.module.removeprefix("moe_middleware").lstrip(".")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "moe_middleware":
                    yield alias.name.removeprefix("moe_middleware").lstrip(".")


def room(name: str) -> str:
    return name.split(".")[0]


def height(name: str, folders: list[set[str]]) -> int | None:
    return next((n for n, names in enumerate(folders) if name in names), None)


def test_every_module_is_in_a_folder_and_imports_only_lower_ones() -> None:
    wrong = []
    for path in modules():
        own = room(name_of(path))
        own_height = height(own, FOLDERS)
        assert own_height is not None, f"{own} is in no layer: say where it belongs"
        for imported in imports(path):
            other_height = height(room(imported), FOLDERS)
            # An import of the package's root has no room, and so no height.
            if room(imported) != own and not (
                other_height is not None and other_height < own_height
            ):
                wrong.append(f"{name_of(path)} imports {imported or 'the root'}")

    assert wrong == []


def test_the_folders_of_the_sandbox_import_only_lower_ones() -> None:
    for path in modules():
        top, *inner = name_of(path).split(".")
        own = height(inner[0], SANDBOX) if inner else None
        if top != "sandbox" or own is None:
            continue  # beside the folders: above all of them
        for imported in imports(path):
            top, _, rest = imported.partition(".")
            if top == "sandbox" and room(rest) != inner[0]:
                other = height(room(rest), SANDBOX)
                assert other is not None, f"{name_of(path)} imports {imported}"
                assert other < own, f"{name_of(path)} imports {imported}"


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {name_of(path): {*imports(path)} - {name_of(path)} for path in modules()}
    for start in graph:
        reached, todo = set(), list(graph[start])
        while todo:
            name = todo.pop()
            if name not in reached:
                reached.add(name)
                todo += graph.get(name, ())
        assert start not in reached, f"{start} imports itself through others"


def test_the_sandbox_speaks_the_api_on_its_own() -> None:
    # The workspace file is read as the settings are.
    allowed = {"sandbox", "settings", "models", "logs", "concurrency", "version"}

    for path in modules():
        if room(name_of(path)) == "sandbox":
            assert {room(name) for name in imports(path)} <= allowed, path


def test_httpx_is_known_to_the_client_and_the_sandbox_alone() -> None:
    knowing = {
        name_of(path) for path in modules() if "import httpx" in path.read_text()
    }

    assert {room(name) for name in knowing} == {"client", "sandbox"}


def test_public_names_are_sorted_and_say_what_they_are() -> None:
    names = moe_middleware.__all__

    assert names == sorted(names)
    assert {*names} <= {*dir(moe_middleware)}
    for name in names:
        assert name == "__version__" or getattr(moe_middleware, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = moe_middleware.nope


DOTTED = [
    "cli:main",
    "django:MoEngageMiddleware",
    "django:lifespan",
    "errors:SettingsError",
    "flask:MoEngage",
    "jinja:MoEngageExtension",
    "openfeature:MoEngageProvider",
    "preview_links:Preview",
    "preview_links:PreviewLinks",
    "pytest_plugin:moe_sandbox",
    "quart:MoEngage",
    "sandbox:Sandbox",
    "sandbox:embedded",
    "telemetry.prometheus:metrics_app",
    "telemetry.prometheus:metrics_wsgi_app",
    "templatetags.moengage:register",
    "testing.django:SandboxRunner",
    "testing:sandboxed",
]


def test_public_names_keep_their_places() -> None:
    for dotted in DOTTED:
        module, _, name = dotted.partition(":")
        assert hasattr(import_module(f"moe_middleware.{module}"), name), dotted


def test_importing_the_package_loads_no_tool_and_nothing_optional() -> None:
    unwanted = ["moe_middleware.sandbox", "moe_middleware.cli", "uvicorn"]
    unwanted += ["django", "redis", "starlette.applications", "fastapi", "httpx"]
    unwanted += ["prometheus_client", "opentelemetry", "openfeature"]
    program = (
        "import sys, moe_middleware, moe_middleware.jinja\n"
        "[getattr(moe_middleware, name) for name in moe_middleware.__all__]\n"
        f"print([name for name in {unwanted!r} if name in sys.modules])"
    )

    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert ran.stdout.strip() == "[]"


LONGEST = 350
"""Lines of a module that needs no reason for its length."""


def test_every_module_says_its_job_in_its_first_line_and_why_it_is_long() -> None:
    reason = re.compile(r"^Longer than 350 lines: \w.{20,}", re.MULTILINE)
    for path in modules():
        docstring = ast.get_docstring(parsed(path))
        assert docstring, path
        assert docstring.splitlines()[0].endswith((".", ":")), path
        is_long = path.read_text().count("\n") > LONGEST
        assert not is_long or reason.search(docstring), path
