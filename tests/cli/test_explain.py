"""``moe-middleware explain``, as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path

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
