"""Print llms.txt, an index of the documentation for language models.

It has each page of mkdocs.yml's ``nav``: its title, its address, its first sentence.
The form is that of https://llmstxt.org: ``make docs`` puts it into the site.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
SITE: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
DOCS = ROOT / SITE["docs_dir"]

_NO_PROSE = re.compile(
    r"\A---\n.*?^---$|^```.*?^```$|<!--.*?-->|^(?:#|:::|[|>!<]|    )[^\n]*", re.M | re.S
)
_PREFACE = "This page starts from "
_LINK = re.compile(r"!?\[([^]]*)\]\([^)]*\)")
_SENTENCE = re.compile(r"((?:`[^`]*`|[^`])+?)[.:!?](?=\s|$)")


def main() -> None:
    """Print the site's name and summary, then a section for each entry of ``nav``."""
    print(f"# {SITE['site_name']}\n\n> {SITE['site_description']}")
    for entry in SITE["nav"]:
        [(title, inner)] = entry.items()
        print(f"\n## {title}\n")
        for name in pages(inner):
            print(line(name))


def pages(entry: Any) -> Iterator[str]:
    """Yield the files of an entry of ``nav``, in its order."""
    if isinstance(entry, str):
        yield entry
    else:
        for inner in entry if isinstance(entry, list) else entry.values():
            yield from pages(inner)


def line(name: str) -> str:
    """Return a page's line: its title, its address, its first sentence."""
    text = (DOCS / name).read_text("utf-8")
    heading = re.search(r"^# (.+)$", text, re.M)
    if heading is None:
        raise SystemExit(f"{DOCS / name}: a title is missing, '# ...'")
    folder = re.sub(r"(^|/)index$", "", name.removesuffix(".md"))
    address = f"{SITE['site_url']}{folder}{'/' if folder else ''}"
    return f"- [{_plain(heading[1])}]({address}): {first_sentence(name, text)}."


def first_sentence(name: str, text: str) -> str:
    """Return the first sentence of a page's prose, without links and its full stop."""
    for paragraph in re.split(r"\n{2,}", _NO_PROSE.sub("", text)):
        prose = _plain(paragraph).replace("**", "").strip()
        if prose.startswith(_PREFACE):
            prose = prose.partition(". ")[2]
        if found := _SENTENCE.match(prose):
            return " ".join(found[1].split())
    raise SystemExit(f"{DOCS / name}: a sentence is missing that says what it is for")


def _plain(text: str) -> str:
    """Return a text without its links' addresses."""
    return _LINK.sub(r"\1", text)


if __name__ == "__main__":
    main()
