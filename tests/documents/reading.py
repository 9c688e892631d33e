"""What a document shows: its blocks, their files and commands."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEN_LINES = "docs/tutorial/ten-lines.md"
"""The page that many others start from, by a link before their first heading."""
MAKEFILE = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_NAME = re.compile(r"(?:# |\{# |// |<!-- )(\S+\.\w+)(?: #\}| -->)?\n")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: its kind, its text, and the document's line of its fence."""

    kind: str
    text: str
    line: int

    @property
    def file(self) -> str | None:
        """The file that its first line names."""
        named = _NAME.match(self.text)
        return named[1] if named and self.kind != "console" else None


class Document:
    """A document in Markdown.

    Attributes:
        text: All of it.
        sections: The blocks of each section; those before the first are "the top"'s.
        blocks: All blocks.
        scripts: The Python files that one of its commands runs.
        starts_from: The pages that the reader has followed before, the first one first.
    """

    def __init__(self, name: str) -> None:
        self.text = (ROOT / name).read_text(encoding="utf-8")
        title, *rest = re.split(r"^## ", self.text, flags=re.M)
        texts = {"the top": title} | {part.partition("\n")[0]: part for part in rest}
        self.sections = {name: [*self._blocks(part)] for name, part in texts.items()}
        self.blocks = [block for blocks in self.sections.values() for block in blocks]
        self.starts_from: list[Document] = []
        if link := re.search(r"starts from (?:the )?\[[^]]+\]\((\S+\.md)\)", title):
            before = Document(os.path.normpath(Path(name).parent / link[1]))
            self.starts_from = [*before.starts_from, before]
        self.scripts = {*re.findall(r"^\$ python (\S+\.py)", self.text, re.M)}

    def _blocks(self, part: str) -> Iterator[Block]:
        for fence in FENCE.finditer(part):
            line = self.text[: self.text.index(fence[0])].count("\n") + 1
            yield Block(fence[1], fence[2], line)


def commands(text: str) -> Iterator[tuple[str, str]]:
    before, *parts = re.split(r"^\$ ", text, flags=re.M)
    assert not before.strip(), "a console block begins with a command"
    for part in parts:
        command, _, shown = part.partition("\n")
        yield command, shown


def same(shown: str, actual: str) -> None:
    """Compare without empty lines; ``...`` stands for anything."""
    wanted, got = (
        "\n".join(line.rstrip() for line in text.splitlines() if line.strip())
        for text in (shown, actual)
    )
    assert not re.fullmatch(r"[.\s]+", wanted), "this shows nothing"
    pattern = re.escape(wanted).replace(r"\.\.\.", ".*?")
    assert re.fullmatch(pattern, got, re.S), f"shown:\n{wanted}\n\nactual:\n{got}"
