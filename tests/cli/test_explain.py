"""``moe-middleware explain``, as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from moe_middleware.cli import main

from ..cli_runner import cli_runner


def run(*words: str) -> tuple[int, str]:
    found = cli_runner().invoke(main, ["explain", *words])
    return found.exit_code, found.stdout + found.stderr


def test_explanation_names_audience_rule_and_payload() -> None:
    code, text = run(
        "promo-strip", "--customer", "a", "--attribute", "utm_medium=email"
    )

    assert code == 0
    assert text.startswith("promo-strip: served\n")
    assert "  Email visitors: matches\n" in text
    assert "yes  utm_medium is email  (visitor: email)" in text
    assert "= Code: LETTER10" in text


def test_every_experience_is_explained_without_a_key() -> None:
    code, text = run("--customer", "nobody")

    assert code == 0
    assert "price-badge: no match" in text
    assert "no   tier is gold  (visitor: not sent (unknown customer))" in text
    assert "Scheduled from 2099-12-01" in text


def test_profile_is_added_and_json_is_the_endpoints_own(tmp_path: Path) -> None:
    file = tmp_path / "shop.yml"
    file.write_text(
        "experiences:\n"
        "  - key: hero-banner\n"
        "    name: Hero banner\n"
        "    audiences:\n"
        "      - name: Big\n"
        "        where: {attribute: orders, at_least: 3}\n"
        '        variations: [{payload: {Title: "Hello \\e[31m"}}]\n'
    )
    options = ("--workspace", str(file), "--customer", "a", "--profile", "orders=3")
    code, text = run("hero-banner", *options, "--json")
    plain = run("hero-banner", *options)[1]

    (one,) = json.loads(text)["experiences"]
    assert code == 0
    assert (one["outcome"], one["audience"]) == ("served", "Big")
    assert "\x1b" not in plain


@pytest.mark.parametrize(
    ("words", "exit_code", "complaint"),
    [
        (("none-such",), 1, "none-such: not in the workspace"),
        (("--attribute", "email"), 2, "'email' is not of the form NAME=VALUE"),
        (("--profile", "email"), 2, "'email' is not of the form NAME=VALUE"),
        (("--workspace", "no-such-file.yml"), 1, "no-such-file.yml"),
    ],
)
def test_mistake_is_one_plain_line(
    words: tuple[str, ...], exit_code: int, complaint: str
) -> None:
    code, text = run(*words)

    assert code == exit_code
    assert complaint in text
    assert "Traceback" not in text
