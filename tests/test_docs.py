"""Every page of docs/ does what it shows: its blocks run from the first to the last."""

from __future__ import annotations

import ast
import functools
import re
import shlex
from dataclasses import replace
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from moe_middleware.sandbox import Sandbox

from .documents import (
    FENCE,
    ROOT,
    Document,
    Newcomer,
    ServedNewcomer,
    newcomer,
    served_newcomer,
)
from .redis_servers import redis_server

__all__ = ["newcomer", "served_newcomer"]

TESTED_ELSEWHERE = {
    "docs/how-to/checks.md": "tests/test_hooks.py",
    "docs/how-to/from-web-sdk.md": "tests/chromium/test_documents.py",
    "docs/how-to/react.md": "tests/chromium/test_documents.py",
    "docs/how-to/deploy/docker.md": "tests/end_to_end/test_deploy.py",
    "docs/how-to/deploy/index.md": "tests/end_to_end/test_deploy.py",
    "docs/how-to/deploy/kubernetes.md": "tests/end_to_end/test_deploy.py",
    "docs/how-to/deploy/systemd.md": "tests/end_to_end/test_deploy.py",
    "docs/how-to/redis.md": "tests/test_docs.py",
    "docs/how-to/sandbox-image.md": "tests/sandbox/test_image.py",
    "docs/reference/workspace.md": "tests/sandbox/test_workspace_docs.py",
}
"""Pages whose blocks need more than a folder, and who runs them."""

SERVED = (
    "docs/how-to/brands.md",
    "docs/how-to/frameworks/",
    "docs/how-to/from-api-calls.md",
    "docs/how-to/front-ends.md",
    "docs/how-to/key-rotation.md",
    "docs/how-to/preview.md",
    "docs/how-to/sandbox.md",
    "docs/how-to/testing.md",
)
"""Pages whose servers are started, and asked over the network."""

THERE_ALREADY = {
    "docs/how-to/openfeature.md": {"opentelemetry", "sentry_sdk.feature_flags"},
}
"""Modules of tools that a section is for, so that its readers have them."""

OPTIONS = re.compile(r"^(::: .*)\n(?:    .*\n)+", re.M)
"""The options of an entry that is written from a docstring."""

ALL = {
    str(path.relative_to(ROOT)): Document(str(path.relative_to(ROOT)))
    for path in sorted((ROOT / "docs").rglob("*.md"))
}
RUN = [
    name for name, page in ALL.items() if page.blocks and name not in TESTED_ELSEWHERE
]


@pytest.mark.parametrize("name", [one for one in RUN if not one.startswith(SERVED)])
def test_page_does_what_it_shows(
    name: str, newcomer: Newcomer, sandbox: Sandbox
) -> None:
    page = ALL[name]
    for before in page.starts_from:
        for block in before.blocks:
            newcomer.follow(block)
        newcomer.restart()
        sandbox.reset()
    newcomer.scripts = page.scripts

    for block in page.blocks:
        newcomer.follow(block)

    assert not newcomer.unused, "files that no command uses"


@pytest.mark.timeout(600)  # several servers, one after the other, and a pytest
@pytest.mark.parametrize("name", [one for one in RUN if one.startswith(SERVED)])
def test_page_does_what_it_shows_with_real_servers(
    name: str, served_newcomer: ServedNewcomer
) -> None:
    page = ALL[name]
    for block in [block for one in (*page.starts_from, page) for block in one.blocks]:
        served_newcomer.follow(block)

    served_newcomer.close()
    assert not served_newcomer.unused, "files that no command uses"


def test_the_page_about_redis_does_what_it_shows(
    newcomer: Newcomer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        for block in ALL["docs/how-to/redis.md"].blocks:
            text = block.text.replace("127.0.0.1:6379", f"127.0.0.1:{server.port}")
            newcomer.follow(replace(block, text=text))


@pytest.mark.parametrize("page", TESTED_ELSEWHERE)
def test_page_that_is_tested_elsewhere_is_named_there(page: str) -> None:
    assert page in (ROOT / TESTED_ELSEWHERE[page]).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ALL)
def test_every_block_is_seen(name: str) -> None:
    text = ALL[name].text
    fences = re.findall(r"^\s*(?:```|~~~).*$", text, re.M)
    prose = OPTIONS.sub("", FENCE.sub("", text))
    indented = [line for line in prose.splitlines() if line[:4] == "    "]

    assert len(fences) == 2 * len(ALL[name].blocks)
    assert indented == []


# Reading what is installed takes a quarter of a second.
all_providers = functools.cache(metadata.packages_distributions)


@functools.cache
def requirements_of(distribution: str) -> list[str]:
    return metadata.requires(distribution) or []


def distributions_of(wanted: list[str]) -> set[str]:
    """Return the distributions that an installation of these brings along."""
    found: set[str] = set()
    waiting = [Requirement(one) for one in wanted]
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        found.add(name)
        try:
            requires = requirements_of(name)
        except metadata.PackageNotFoundError:
            continue  # a page may do without it in the tests
        for text in requires:
            more = Requirement(text)
            extras = one.extras or {""}
            marker = more.marker
            if marker and not any(marker.evaluate({"extra": e}) for e in extras):
                continue
            if canonicalize_name(more.name) not in found:
                waiting.append(more)
    return found


def imported_by(page: Document) -> set[str]:
    """Return the modules outside of the page that its Python files import."""
    found: set[str] = set()
    for block in page.blocks:
        if block.kind != "python" or not block.file:
            continue
        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module)
    return found


@pytest.mark.parametrize("name", RUN)
def test_a_page_installs_what_its_files_import(name: str) -> None:
    pages = [*ALL[name].starts_from, ALL[name]]
    text = "".join(page.text for page in pages)
    lines = re.findall(r"pip install ([^`\n]+)", text)
    installed = distributions_of(
        ["moe_middleware", "uvicorn", *shlex.split(" ".join(lines))]
    )
    providers = all_providers()
    modules = imported_by(ALL[name])

    missing = {
        module
        for module in modules
        if (of := providers.get(module.partition(".")[0]))
        and not installed & {canonicalize_name(one) for one in of}
    }
    if any(module.endswith(".testclient") for module in modules):
        missing |= {"httpx2"} - installed
    if "$ pytest" in ALL[name].text:
        missing |= {"pytest"} - installed

    assert missing <= THERE_ALREADY.get(name, set())
