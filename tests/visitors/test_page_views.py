from __future__ import annotations

import pytest

from moe_middleware.models.visits import Visit
from moe_middleware.visitors.page_views import is_asset, is_prefetch, is_preflight

from ..rows import each


@each(
    ("name", "value", "ahead"),
    [
        *(("Sec-Purpose", "prefetch", True), ("Purpose", "prefetch", True)),
        *(("Sec-Purpose", "prefetch;prerender", True), ("Purpose", "Prerender", True)),
        ("Sec-Purpose", "prefetch;anonymous-client-ip", True),
        *(("X-Moz", "prefetch", True), ("X-Purpose", "preview", True)),
        *(("X-Sec-Purpose", "prefetch", True), ("Moz-Purpose", "prefetch", True)),
        *(("Sec-Fetch-Purpose", "prefetch", True), ("HX-Preloaded", "true", True)),
        *(("Next-Router-Prefetch", "1", True), ("X-Middleware-Prefetch", "1", True)),
        *(("HX-Preloaded", "false", False), ("Next-Router-Prefetch", "0", False)),
        *(("Sec-Purpose", "", False), ("Sec-Purpose", "navigate", False)),
        *(("Purpose", "noprefetch", False), ("HX-Request", "true", False)),
        ("X-Requested-With", "prefetch", False),
    ],
)
def test_what_asks_ahead_says_so(name: str, value: str, ahead: bool) -> None:
    header = (name.lower().encode(), value.encode())

    assert is_prefetch(Visit(headers=[(b"accept", b"*/*"), header])) is ahead


def test_a_request_is_no_prefetch() -> None:
    assert not is_prefetch(Visit())


@pytest.mark.parametrize(
    ("method", "name", "expected"),
    [
        ("OPTIONS", b"access-control-request-method", True),
        ("OPTIONS", b"origin", False),
        ("GET", b"access-control-request-method", False),
    ],
)
def test_a_preflight_is_known(method: str, name: bytes, expected: bool) -> None:
    assert is_preflight(Visit(method=method, headers=[(name, b"PUT")])) is expected


@each(
    ("path", "wanted", "expected"),
    [
        *(("/a.png", None, True), ("/a.CSS", None, True), ("/a", None, False)),
        *(("/a", "image", True), ("/a", "Script", True)),
        ("/a.png", "document", False),
        *(("/topics/node.js", "document", False), ("/a", "empty", False)),
        *(
            ("/a.png", "empty", False),
            ("/a", "iframe", False),
            ("/a.json", None, False),
        ),
        *(("/a.png/edit", None, False), ("/png", None, False), ("/js", None, False)),
    ],
)
def test_an_asset_is_no_page(path: str, wanted: str | None, expected: bool) -> None:
    headers = [(b"sec-fetch-dest", wanted.encode())] if wanted else []

    assert is_asset(Visit(path=path, headers=headers)) is expected
