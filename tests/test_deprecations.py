"""docs/reference/releases.md: what is deprecated is listed, and goes in time."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from moe_middleware import __version__

ROOT = Path(__file__).parent.parent
POLICY = (ROOT / "docs" / "reference" / "releases.md").read_text(encoding="utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
_VERSION = r"(\d+\.\d+\.0)"
_TEXT = re.compile(
    rf"`([^`]+)` is deprecated since {_VERSION}, and goes in {_VERSION}: use `([^`]+)`"
)
_SECTION = re.compile(r"^### Deprecated\n(.*?)(?=^##|\Z)", re.M | re.S)
_ROW = re.compile(rf"- `([^`]+)`, until {_VERSION}: use `[^`]+`.*")


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning in the source: its line, its text, and whether it names a caller."""

    line: int
    text: str
    at_the_caller: bool


def warned(source: str) -> Iterator[Warned]:
    """Yield each ``warnings.warn(TEXT, DeprecationWarning, stacklevel=2)``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and "DeprecationWarning" in ast.unparse(node):
            name = ast.unparse(node.func)
            if name in ("warn", "warnings.warn"):
                level = {one.arg for one in node.keywords} & {"stacklevel"}
                yield Warned(node.lineno, _literal(node.args), bool(level))


def _literal(arguments: list[ast.expr]) -> str:
    match arguments:
        case [ast.Constant(value=str(text)), *_]:
            return text
        case _:
            return ""


def version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def is_late_enough(since: str, goes: str) -> bool:
    """Whether two minor versions lie between, or from 1.0.0 on a major one."""
    major, minor, _ = version(since)
    first = (0, minor + 2, 0) if major == 0 else (major + 1, 0, 0)
    return version(goes) >= first


def problems(source: str, changelog: str, current: str) -> list[str]:
    """Return what breaks the policy in a module."""
    listed = {row[1]: row[2] for row in rows(changelog)}
    found = []
    for one in warned(source):
        match = _TEXT.fullmatch(one.text)
        if match is None:
            found.append(f"line {one.line}: its text has another form")
            continue
        old, since, goes, _ = match.groups()
        if not one.at_the_caller:
            found.append(f"line {one.line}: no stacklevel")
        if listed.get(old) != goes:
            found.append(f"line {one.line}: the changelog does not say so")
        if not is_late_enough(since, goes):
            found.append(f"line {one.line}: it goes too early")
        if version(goes) <= version(current):
            found.append(f"line {one.line}: it should be gone")
    return found


def rows(changelog: str) -> Iterator[re.Match[str]]:
    for section in _SECTION.findall(changelog):
        for line in section.strip().splitlines():
            row = _ROW.fullmatch(line)
            assert row is not None, f"- `OLD`, until VERSION: use `NEW`; not: {line}"
            yield row


def test_the_package_keeps_to_the_policy() -> None:
    modules = sorted((ROOT / "moe_middleware").rglob("*.py"))
    found = {
        path.relative_to(ROOT).as_posix(): problems(
            path.read_text(encoding="utf-8"), CHANGELOG, __version__
        )
        for path in modules
    }

    assert {path: wrong for path, wrong in found.items() if wrong} == {}


def test_the_page_says_whether_anything_is_deprecated() -> None:
    still = [
        row[1] for row in rows(CHANGELOG) if version(row[2]) > version(__version__)
    ]

    assert ("At present nothing is deprecated." in POLICY) == (not still)


def test_the_policy_shows_the_form_that_is_checked() -> None:
    [shown] = re.findall(r"^ *(`.* is deprecated .*)$", POLICY, re.M)

    assert _TEXT.fullmatch(shown)


LISTED = "## [0.2.0]\n\n### Deprecated\n\n- `Old.name`, until 0.4.0: use `New.name`.\n"
GOOD = "`Old.name` is deprecated since 0.2.0, and goes in 0.4.0: use `New.name`"
CALL = """
import warnings
def name():
    warnings.warn({text!r}, DeprecationWarning{level})
"""


@pytest.mark.parametrize(
    ("text", "level", "changelog", "current", "found"),
    [
        (GOOD, ", stacklevel=2", LISTED, "0.2.0", []),
        (GOOD, ", stacklevel=2", LISTED, "0.3.7", []),
        (GOOD, ", stacklevel=2", LISTED, "0.4.0", ["it should be gone"]),
        (GOOD, "", LISTED, "0.2.0", ["no stacklevel"]),
        (GOOD, ", stacklevel=2", "", "0.2.0", ["the changelog does not say so"]),
        ("Do not.", ", stacklevel=2", LISTED, "0.2.0", ["its text has another form"]),
        (
            GOOD.replace("0.4.0", "0.3.0"),
            ", stacklevel=2",
            LISTED.replace("0.4.0", "0.3.0"),
            "0.2.0",
            ["it goes too early"],
        ),
        (
            GOOD.replace("0.2.0", "1.3.0").replace("0.4.0", "1.9.0"),
            ", stacklevel=2",
            LISTED.replace("0.4.0", "1.9.0"),
            "1.3.0",
            ["it goes too early"],
        ),
    ],
)
def test_what_breaks_the_policy_is_found(
    text: str, level: str, changelog: str, current: str, found: list[str]
) -> None:
    source = CALL.format(text=text, level=level)

    assert [
        one.partition(": ")[2] for one in problems(source, changelog, current)
    ] == found


def test_a_row_of_the_changelog_says_until_when() -> None:
    with pytest.raises(AssertionError, match="until VERSION"):
        [*rows("### Deprecated\n\n- `Old.name` goes soon.\n")]
