"""llms.txt, which ``make docs`` puts into the site: a line for each page."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import yaml

from .documents import ROOT

SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
_LINE = re.compile(r"- \[([^]]+)\]\((\S+)\): (.+)\.")


@pytest.fixture(scope="module")
def written() -> str:
    return subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "llms.py")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_each_page_has_its_line_with_its_title(written: str) -> None:
    lines = [_LINE.fullmatch(one) for one in written.splitlines() if one[:1] == "-"]
    found = {one[2]: one[1] for one in lines if one}
    titles = {}
    for path in (ROOT / "docs").rglob("*.md"):
        name = path.relative_to(ROOT / "docs").with_suffix("").as_posix()
        folder = re.sub(r"(^|/)index$", "", name)
        heading = re.search(r"^# (.+)$", path.read_text(encoding="utf-8"), re.M)
        assert heading is not None
        titles[f"{SITE['site_url']}{folder}/".replace("io//", "io/")] = heading[1]

    assert None not in lines
    assert found == titles


def test_it_begins_with_the_name_and_the_summary(written: str) -> None:
    name, summary = SITE["site_name"], SITE["site_description"]

    assert written.startswith(f"# {name}\n\n> {summary}\n\n## ")
    assert re.findall(r"^## (.*)$", written, re.M) == [
        *map(next, map(iter, SITE["nav"]))
    ]


def test_a_line_says_what_the_page_is_for(written: str) -> None:
    sentences = [one.partition("): ")[2] for one in written.splitlines() if "](" in one]

    assert "pytest finds our two fixtures on its own." in sentences
    assert [one for one in sentences if "](" in one or "ten lines](" in one] == []
    assert [one for one in sentences if len(one) < 12] == []
