"""Builds the documentation's site, and reads its pages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
CONFIG: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
SITE_URL: str = CONFIG["site_url"]

_BLOCKS = {
    *("p", "li", "td", "dd", "dt", "summary", "div", "nav", "br", "pre", "blockquote"),
}
_CODE = {"code", "pre", "script", "style"}
_TITLES = {"h1", "h2", "h3", "h4", "h5", "h6", "th", "strong", "a"}


def built_site(factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the strictly built site: built once for all of a run."""
    shared = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / "documentation"
    try:
        folder.mkdir()
    except FileExistsError:  # another process builds it
        until = time.monotonic() + WITHIN
        while not (folder / _DONE).exists():
            assert time.monotonic() < until, f"no site within {WITHIN} seconds"
            time.sleep(0.05)
    else:
        output = _build(folder)
        (folder / "output.txt").write_text(output, encoding="utf-8")
        os.replace(folder / "output.txt", folder / _DONE)
    failure = (folder / _DONE).read_text(encoding="utf-8")
    assert not failure, failure
    site: Path = folder / CONFIG["site_dir"]
    return site


WITHIN = 170
_DONE = "failure.txt"


def _build(folder: Path) -> str:
    """Build the site; return the builder's output if it fails, else an empty text."""
    shutil.copy(ROOT / "mkdocs.yml", folder)
    shutil.copytree(ROOT / CONFIG["docs_dir"], folder / CONFIG["docs_dir"])
    ran = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    return ran.stdout + ran.stderr if ran.returncode else ""


@dataclass
class Page(HTMLParser):
    """One page of the built site.

    Attributes:
        path: Its place in the site, as in ``how-to/clicks/index.html``.
        ids: The anchors.
        links: Addresses of other pages, images, scripts and styles.
        loaded: Those that a browser loads by itself.
        prose: The sentences of the article, a line for each block; code, links and
            bold words are an ``x``.
        titles: Its headings, heads of tables, links and bold words.
    """

    path: str
    text: str
    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    prose: str = ""
    titles: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self._in_article = self._in_code = self._in_title = 0
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        address = given.get("href") or given.get("src")
        if address is not None:
            self.links.append(address)
            by_itself = tag != "a" and given.get("rel") not in (
                "canonical",
                "next",
                "prev",
            )
            if by_itself:
                self.loaded.append(address)
        self._in_article += tag == "article"
        if tag in _CODE or tag in _TITLES:
            self._write("x")
        self._in_code += tag in _CODE
        self._in_title += tag in _TITLES
        if tag in _BLOCKS:
            self._write("\n")

    def handle_endtag(self, tag: str) -> None:
        self._in_article -= tag == "article"
        self._in_code -= tag in _CODE
        self._in_title -= tag in _TITLES
        if tag in _BLOCKS:
            self._write("\n")

    def handle_data(self, data: str) -> None:
        self._write(data.replace("\n", " "))

    def _write(self, text: str) -> None:
        if not self._in_article or self._in_code:
            return
        if self._in_title:
            self.titles += text
        else:
            self.prose += text


def pages(site: Path) -> dict[str, Page]:
    """Return every page of a built site by its path."""
    found = {}
    for file in sorted(site.rglob("*.html")):
        path = file.relative_to(site).as_posix()
        found[path] = Page(path, file.read_text(encoding="utf-8"))
    return found
