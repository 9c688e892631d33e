from __future__ import annotations

from pathlib import Path

import pytest

from ..cli_runner import run
from .test_main import FILE


@pytest.fixture
def folder(folder: Path) -> Path:
    (folder / "moe.yml").write_text(FILE)
    (folder / "templates" / "shop").mkdir(parents=True)
    return folder


def test_tags_whose_keys_routes_name_are_counted(folder: Path) -> None:
    (folder / "templates/home.html").write_text('{% experience "hero" as hero %}')
    (folder / "templates/shop/cart.html").write_text(
        '{% experience "cart-upsell" %}{% experience chosen %}{% customtag x %}'
    )

    result = run("check", "--templates", "templates")

    assert result.exit_code == 0
    assert result.stderr == ""
    assert result.stdout.splitlines()[-2:] == [
        "",
        "2 tags with a key in the templates, all asked for",
    ]


def test_one_tag_is_counted_in_the_singular(folder: Path) -> None:
    (folder / "templates/home.html").write_text('{% experience "hero" as hero %}')

    result = run("check", "--templates", "templates")

    assert result.stdout.splitlines()[-1] == (
        "1 tag with a key in the templates, all asked for"
    )


def test_a_key_that_no_route_names_is_reported_with_its_line(folder: Path) -> None:
    (folder / "templates/home.html").write_text('\n\n{% experience "heroo" as h %}')
    (folder / "templates/shop/cart.html").write_text('{% experience "newsletter" %}')

    result = run("check", "--templates", "templates")

    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "templates/home.html:3: no route asks for 'heroo': did you mean 'hero'?",
        "templates/shop/cart.html:1: no route asks for 'newsletter': name it in a "
        "route, or pass --fetched newsletter where a handler fetches it",
    ]


def test_a_key_that_a_handler_fetches_needs_no_route(folder: Path) -> None:
    (folder / "templates/home.html").write_text('{% experience "newsletter" %}')

    result = run("check", "--templates", "templates", "--fetched", "newsletter")

    assert result.exit_code == 0


def test_several_directories_and_single_files_are_read(folder: Path) -> None:
    (folder / "templates/a.html").write_text('{% experience "x" %}')
    (folder / "mail.txt").write_text('{% experience "y" %}')

    result = run("check", "--templates", "templates", "--templates", "mail.txt")

    assert [line.split(": no")[0] for line in result.stderr.splitlines()] == [
        "templates/a.html:1",
        "mail.txt:1",
    ]


def test_other_files_are_left_alone_and_broken_templates_reported(folder: Path) -> None:
    (folder / "templates/logo.png").write_bytes(b"\x89PNG\x00\xff{% experienced {#")
    (folder / "templates/app.js").write_text("// experience {# {% }}")
    (folder / "templates/latin.html").write_bytes(b'\xe9{% experience "hero" %}')
    (folder / "templates/odd.html").write_text('\n{% experience "hero %}')

    result = run("check", "--templates", "templates")

    assert result.exit_code == 1
    [complaint] = result.stderr.splitlines()
    assert complaint.startswith("templates/odd.html:2: no template: ")


def test_mistakes_of_the_file_and_of_the_templates_are_reported_together(
    folder: Path,
) -> None:
    with (folder / "moe.yml").open("a") as file:
        file.write("attributes:\n  a: {call: 'shop_nowhere:ask'}\n")
    (folder / "templates/home.html").write_text('{% experience "heroo" %}')

    result = run("check", "--templates", "templates")

    assert [line.split(": ")[0] for line in result.stderr.splitlines()] == [
        "moe.yml:13",
        "templates/home.html:1",
    ]


def test_a_directory_that_is_not_there_is_a_usage_mistake(folder: Path) -> None:
    result = run("check", "--templates", "nowhere")

    assert result.exit_code == 2
    assert "--templates" in result.stderr
    assert "nowhere" in result.stderr
