"""Docstrings, comments and names are plain: the rules are those of the site's pages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import moe_middleware

from .plain_words import riddles_in_code, words_in_code
from .rows import each

ROOT = Path(moe_middleware.__file__).parent.parent


@each(
    ("folders", "check"),
    [
        (("moe_middleware", "demo_app", "release"), riddles_in_code),
        # Headings such as "What a page costs" are plain enough here.
        (("tests", "benchmarks"), words_in_code),
    ],
)
def test_no_module_has_a_riddle(
    folders: tuple[str, ...], check: Callable[[str], list[str]]
) -> None:
    found = {
        path.relative_to(ROOT).as_posix(): riddles
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
        if (riddles := check(path.read_text(encoding="utf-8")))
    }

    assert found == {}


def test_riddles_in_code_are_found() -> None:
    source = '''"""What is kept is old."""

def told(text):  # Whoever calls it.
    return text or known_to_nobody
'''

    assert len(riddles_in_code(source)) == 4
