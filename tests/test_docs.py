"""The pages of docs/ that show code, run: each from its beginning to its end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from .documents import Document, Newcomer, newcomer
from .redis_servers import redis_server

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


def test_the_page_about_redis_does_what_it_shows(
    newcomer: Newcomer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        for block in Document("docs/redis.md").blocks:
            text = block.text.replace("127.0.0.1:6379", f"127.0.0.1:{server.port}")
            newcomer.follow(replace(block, text=text))


@pytest.mark.parametrize("page", PAGES)
def test_page_does_what_it_shows(page: str, newcomer: Newcomer) -> None:
    document = Document(f"docs/{page}")
    newcomer.scripts = document.scripts

    for block in document.blocks:
        newcomer.follow(block)

    assert document.blocks
    assert not newcomer.unused, "files that no command uses"
