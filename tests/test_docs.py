"""The pages of docs/ that show code, run: each from its beginning to its end."""

from __future__ import annotations

import pytest

from .documents import Document, Newcomer, newcomer

__all__ = ["newcomer"]

PAGES = [
    "caches.md",
    "celery.md",
    "observability.md",
    "openfeature.md",
    "overlay.md",
    "sync.md",
    "typed.md",
]


@pytest.mark.parametrize("page", PAGES)
def test_page_does_what_it_shows(page: str, newcomer: Newcomer) -> None:
    document = Document(f"docs/{page}")
    newcomer.scripts = document.scripts

    for block in document.blocks:
        newcomer.follow(block)

    assert document.blocks
    assert not newcomer.unused, "files that no command uses"
