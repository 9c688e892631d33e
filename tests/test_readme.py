"""The README, run: each section is followed to the letter, in an empty folder.

A section stands on the first one that has code, "Ten lines", and on nothing else.
"""

from __future__ import annotations

import re

import pytest

from moe_middleware.sandbox import Sandbox

from .documents import FENCE, ROOT, Document, Newcomer, newcomer
from .screenshots import HEIGHT, IMAGES, WIDTH, size_of

__all__ = ["newcomer"]

DOCUMENT = Document("README.md")
README, SECTIONS, BLOCKS = DOCUMENT.text, DOCUMENT.sections, DOCUMENT.blocks
SITE = "https://moe-middleware.readthedocs.io/"
START = "Ten lines to a personalised page"


@pytest.mark.parametrize("section", [name for name in SECTIONS if SECTIONS[name]])
def test_section_does_what_it_shows(
    section: str, newcomer: Newcomer, sandbox: Sandbox
) -> None:
    newcomer.scripts = DOCUMENT.scripts
    if section != START:
        for block in SECTIONS[START]:
            newcomer.follow(block)
        newcomer.restart()
        sandbox.reset()
    for block in SECTIONS[section]:
        newcomer.follow(block)

    assert not newcomer.unused, "files that no command uses"


def test_every_block_is_seen() -> None:
    fences = re.findall(r"^\s*(?:```|~~~).*$", README, re.M)
    prose = FENCE.sub("", README)

    assert len(fences) == 2 * len(BLOCKS)
    assert [line for line in prose.splitlines() if line.startswith("    ")] == []


def test_two_commands_stand_at_the_top() -> None:
    assert SECTIONS["the top"][0].text == "$ make demo\n$ make test\n"


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 180


def test_links_work_on_a_package_index() -> None:
    targets = re.findall(r"\]\(([^)]+)\)", README)

    assert [target for target in targets if not target.startswith("https://")] == []
    assert targets


def test_images_are_there_and_small() -> None:
    linked = re.findall(rf'"{SITE}images/([^"]+)"', README)
    images = {path.name: path.read_bytes() for path in IMAGES.glob("*.png")}

    assert sorted(linked) == sorted(images)
    for name, image in images.items():
        assert (name, *size_of(image)) == (name, WIDTH, HEIGHT)
        assert len(image) < 150_000, name


def test_figures_are_those_of_the_pages_that_measure_them() -> None:
    part = README[README.index("## Why trust it") : README.index("## With your own")]
    measured = "".join(
        Document(f"docs/explanation/{name}.md").text for name in ("outages", "losses")
    )
    figures = re.findall(r"\d[\d,]*\.?\d*(?= of| ms| seconds|,\d)", part)
    figures += re.findall(r"of (\d[\d,]+) ", part)

    assert [one for one in figures if one not in measured] == []
    assert len(figures) > 6


@pytest.mark.parametrize("page", ["outages", "losses"])
def test_kinds_of_failure_are_as_many_as_are_measured(page: str) -> None:
    text = (ROOT / "docs" / "explanation" / f"{page}.md").read_text("utf-8")
    # Its first table, without the heads and the rule.
    table = re.search(r"(?:^\|.*\n)+", text, re.M)
    assert table
    kinds = table[0].count("\n") - 2
    numbers = {
        path: re.findall(rf"\[(\d+) kinds of failure\]\([^)]*{page}", text)
        for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
        for text in [path.read_text("utf-8")]
    }
    numbers = {path: found for path, found in numbers.items() if found}

    assert len(numbers) > 2
    assert {one for found in numbers.values() for one in found} == {str(kinds)}


def test_ten_lines_are_ten() -> None:
    first = next(block for block in BLOCKS if block.kind == "python")
    code = [line for line in first.text.splitlines()[1:] if line]

    assert len(code) == 10
    assert max(map(len, code)) <= 88


def test_users_test_has_ten_lines_at_most() -> None:
    (block,) = (one for one in BLOCKS if one.file == "test_app.py")
    code = [line for line in block.text.splitlines()[1:] if line]

    assert len(code) <= 10
