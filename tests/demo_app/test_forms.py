from __future__ import annotations

import pytest

from demo_app.forms import same_site

from ..rows import each


@pytest.mark.parametrize("path", ["/", "/cart", "/products/earl-grey?utm_medium=email"])
def test_own_path_is_kept(path: str) -> None:
    assert same_site(path, "/elsewhere") == path


@each(
    "target",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "javascript:alert(1)",
        "cart",
        "",
        None,
        7,
    ],
)
def test_any_other_target_is_refused(target: object) -> None:
    assert same_site(target, "/products") == "/products"
