from __future__ import annotations

from demo_app.forms import same_site

from ..rows import each


@each(
    ("target", "kept"),
    [
        *(
            (own, True)
            for own in ("/", "/cart", "/products/earl-grey?utm_medium=email")
        ),
        *(("https://evil.example/", False), ("//evil.example", False)),
        *(("/\\evil.example", False), ("/\t/evil.example", False)),
        *(("/\n/evil.example", False), ("javascript:alert(1)", False)),
        *(("cart", False), ("", False), (None, False), (7, False)),
    ],
)
def test_own_path_is_kept_and_any_other_target_refused(
    target: object, kept: bool
) -> None:
    assert same_site(target, "/products") == (target if kept else "/products")
