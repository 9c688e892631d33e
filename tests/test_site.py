"""The documentation's site: its links lead somewhere, and its sentences are plain."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest

from .documentation_site import CONFIG, ROOT, SITE_URL, Page, built_site, pages
from .plain_words import WORDS, riddles

BESIDE = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
"""Documents at the root that link to the site."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_site(tmp_path_factory)


@pytest.fixture(scope="module")
def built(site: Path) -> dict[str, Page]:
    return pages(site)


def target(address: str, beside: str, site: Path) -> tuple[Path, str] | None:
    """Return the file that an address of the site means, and its anchor.

    None for an address of another site.
    """
    whole = urljoin(urljoin(SITE_URL, beside), address)
    if not whole.startswith(SITE_URL):
        return None
    path, fragment = urlsplit(whole).path, urlsplit(whole).fragment
    file = site / path.lstrip("/")
    return (file / "index.html" if path.endswith("/") else file), fragment


def lost(address: str, beside: str, site: Path, built: dict[str, Page]) -> bool:
    """Whether an address leads to no file, or to no anchor of its page."""
    found = target(address, beside, site)
    if found is None:
        parts = urlsplit(address)
        known = parts.scheme in ("https", "mailto", "data", "javascript")
        # Servers of the reader's own machine are shown with http.
        own = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost")
        return not (known and (parts.netloc or parts.path)) and not own
    file, fragment = found
    page = built.get(file.relative_to(site).as_posix())
    if page is None:
        return not file.is_file()
    return bool(fragment) and fragment not in page.ids


def test_every_link_leads_somewhere(site: Path, built: dict[str, Page]) -> None:
    # The page of a 404 is shown anywhere: its links begin at the root.
    dead = [
        f"{path}: {link}"
        for path, page in built.items()
        for link in page.links
        if lost(link, path, site, built)
    ]

    assert dead == []
    assert len(built) > 40
    assert sum(len(page.links) for page in built.values()) > 2_000


@pytest.mark.parametrize("name", BESIDE)
def test_links_to_the_site_lead_somewhere(
    name: str, site: Path, built: dict[str, Page]
) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    links = re.findall(rf"{re.escape(SITE_URL)}[^\s)\"'>]*", text)

    assert [link for link in links if lost(link, "", site, built)] == []


def test_pages_load_nothing_from_another_host(built: dict[str, Page]) -> None:
    elsewhere = {
        link
        for page in built.values()
        for link in page.loaded
        if urlsplit(link).netloc and not link.startswith(SITE_URL)
    }

    assert elsewhere == set()


def test_other_projects_can_link_to_our_names(site: Path) -> None:
    assert (site / "objects.inv").read_bytes().startswith(b"# Sphinx inventory")


def in_nav(nav: list[Any]) -> Iterator[str]:
    for entry in nav:
        if isinstance(entry, str):
            yield entry
            continue
        for inner in entry.values():
            yield from in_nav(inner if isinstance(inner, list) else [inner])


def test_every_page_is_in_the_navigation() -> None:
    there = {
        path.relative_to(ROOT / "docs").as_posix()
        for path in (ROOT / "docs").rglob("*.md")
    }
    named = [*in_nav(CONFIG["nav"])]

    assert {*named} == there
    assert len(named) == len({*named})


def test_sentences_of_the_site_have_a_subject(built: dict[str, Page]) -> None:
    found = {
        path: [*riddles(page.prose), *WORDS.findall(page.titles)]
        for path, page in built.items()
    }

    assert {path: them for path, them in found.items() if them} == {}


@pytest.mark.parametrize("name", BESIDE)
def test_sentences_beside_the_site_have_a_subject(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)

    # Headings, rows of tables, code, links and bold words are no sentences.
    prose = re.sub(
        r"^[#|].*$|`[^`]*`|\[[^]]*\]\([^)]*\)|\*\*[^*]*\*\*", "x", prose, flags=re.M
    )

    assert riddles(prose) == []


def test_riddles_are_found_and_plain_sentences_are_not() -> None:
    for riddle in (
        "Nobody who objects is counted.",
        "It waits. What is not stored is lost.",
        "It works as ever.",
        "The visitor is told why.",
    ):
        assert riddles(riddle), riddle
    for plain in (
        "It explains what a visitor gets.",
        "What to do: raise the limit.",
        "What happens then?",
    ):
        assert not riddles(plain), plain


def test_dead_links_are_found(site: Path, built: dict[str, Page]) -> None:
    page = "reference/settings/index.html"

    for dead in ("../nowhere/", "#nowhere", "../cli/#nowhere", "http://shop.example/"):
        assert lost(dead, page, site, built), dead
    for alive in ("../cli/", "#fetch-timeout", "../cli/#check", "https://shop.example"):
        assert not lost(alive, page, site, built), alive
