from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from moe_middleware.cli import main
from moe_middleware.cli.fetch import answer_text
from moe_middleware.models.experience import Experience
from moe_middleware.models.reasons import Reason
from moe_middleware.sandbox import embedded
from moe_middleware.sandbox.workspace.file import workspace_schema
from moe_middleware.settings.settings import Settings
from moe_middleware.version import __version__

from .. import forks
from ..cli_runner import cli_runner, run

SECRET = "sekret-5f0c"
FILE = f"""\
workspace:
  id: WORKSPACE
  api_key: {SECRET}
routes:
  - path: /
    experiences: [hero, promo]
  - path: /products/{{sku}}
    methods: [GET]
    hosts: ["*.shop.example"]
    experiences: [cart-upsell]
    attributes: {{sku: {{path: sku}}}}
"""


def test_check_shows_the_workspace_and_an_aligned_table(folder: Path) -> None:
    (folder / "moe.yml").write_text(FILE)

    result = run("check")

    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "workspace    WORKSPACE",
        "api key      1 key, hidden",
        "data center  01",
        "asks         https://sdk-01.moengage.com/v1",
        "cache        memory:",
        "budget       memory: (10000 calls a minute)",
        "outbox       sqlite:///moe-outbox.db",
        "secret key   none: click links stay plain, attrs() and script() empty, "
        "previews refused",
        "",
        "METHODS  PATH             HOSTS           EXPERIENCES  ATTRIBUTES",
        "any      /                any             hero, promo  -",
        "GET      /products/{sku}  *.shop.example  cart-upsell  sku (path sku)",
    ]
    assert SECRET not in result.output


def test_check_says_where_the_embedded_sandbox_answers(folder: Path) -> None:
    (folder / "moe.yml").write_text("routes: []")

    result = run("check", MOE_DATA_CENTER="sandbox")

    assert "asks         the embedded sandbox" in result.stdout
    assert result.stdout.endswith("\nno routes\n")


def test_check_puts_every_mistake_on_a_line_of_stderr(folder: Path) -> None:
    (folder / "other.yml").write_text(FILE.replace("path: /\n", "pat: /\n"))

    result = run("check", "other.yml")

    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "other.yml:5: routes.0.path: missing: the path within the app, as in "
        "/products/{sku}, /{id:int} or /{rest:path}",
        "other.yml:5: routes.0.pat: unknown key 'pat': did you mean 'path'?",
    ]


def test_check_imports_every_call(folder: Path) -> None:
    (folder / "shop_calls.py").write_text("limit = 3\ndef ask(visit): return None\n")
    (folder / "shop_broken.py").write_text("raise RuntimeError('at import')\n")
    (folder / "moe.yml").write_text(
        FILE
        + "identity:\n"
        + "  customer_id: {call: 'shop_calls:ask'}\n"
        + "  user_identifiers: {u_em: {call: 'shop_calls:email'}}\n"
        + "attributes:\n"
        + "  a: {call: 'shop_nowhere:ask'}\n"
        + "  b: {call: 'shop_broken:ask'}\n"
        + "  c: {call: 'shop_calls:limit'}\n"
    )

    result = run("check")

    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "moe.yml:14: identity.user_identifiers.u_em: 'shop_calls:email': 'shop_calls' "
        "has no attribute 'email'",
        "moe.yml:16: attributes.a: 'shop_nowhere:ask': there is no module "
        "'shop_nowhere'",
        "moe.yml:17: attributes.b: 'shop_broken:ask' cannot be imported: RuntimeError: "
        "at import",
        "moe.yml:18: attributes.c: 'shop_calls:limit' is int: name a function of one "
        "Visit",
    ]


def test_schema_prints_the_json_schema_in_a_new_process() -> None:
    settings, workspace, version = (
        forks.run("-m", "moe_middleware", *words).stdout
        for words in (["schema"], ["schema", "--workspace"], ["--version"])
    )

    assert json.loads(settings) == Settings.json_schema()
    assert json.loads(workspace) == workspace_schema()
    assert version == f"moe-middleware {__version__}\n"


def test_fetch_shows_what_a_visitor_gets(folder: Path) -> None:
    result = run("fetch", "homepage-banner", "no-such", MOE_DATA_CENTER="sandbox")

    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "homepage-banner"
    assert lines[1] == "  source     api"
    assert lines[2].startswith("  variation  ")
    assert lines[3].startswith("  audience   ")
    assert "  payload" in lines
    assert any(line.startswith("    Title ") for line in lines)
    assert lines[-2] == "no-such"
    assert lines[-1] == (
        "  nothing: no_match (the workspace has no published experience of this key)"
    )


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (
            "homepge-banner",
            "the workspace has no published experience of this key: did you mean "
            "'homepage-banner'?",
        ),
        ("autumn-hero", "the experience is Paused"),
        ("price-badge", "no audience matches"),
    ],
)
def test_fetch_says_why_there_is_no_match(folder: Path, key: str, why: str) -> None:
    result = run("fetch", key, "--customer", "carol", MOE_DATA_CENTER="sandbox")

    assert result.exit_code == 0
    assert result.stdout == f"{key}\n  nothing: no_match ({why})\n"


def test_fetch_goes_without_the_list_of_experiences(folder: Path) -> None:
    embedded().fault("metadata", status=500, times=None)

    result = run("fetch", "no-such", MOE_DATA_CENTER="sandbox")

    assert result.exit_code == 0
    assert result.stdout == (
        "no-such\n"
        "  nothing: no_match (no audience matches, or the key does not exist)\n"
    )


def test_fetch_sends_who_the_visitor_is(folder: Path) -> None:
    result = run(
        "fetch", "homepage-banner", "--customer", "42", "--visitor", "browser",
        "--identifier", "u_em=ada@shop.example", "--attribute", "utm_medium=email",
        "--json", MOE_DATA_CENTER="sandbox",
    )  # fmt: skip

    answer = json.loads(result.stdout)["homepage-banner"]
    assert answer["source"] == "api"
    assert answer["reason"] is None
    assert answer["payload"]
    assert answer["experience_context"]["moe_variation_id"]


def test_fetch_without_keys_asks_for_all(folder: Path) -> None:
    result = run("fetch", "--json", MOE_DATA_CENTER="sandbox")

    assert "homepage-banner" in json.loads(result.stdout)


def test_fetch_that_fails_says_why(folder: Path) -> None:
    (folder / "moe.yml").write_text(FILE)

    result = run("fetch", "hero", MOE_BASE_URL="http://127.0.0.1:9/v1")

    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("TransportError: ")
    assert SECRET not in result.stderr


def test_answers_without_a_payload_say_why() -> None:
    matched = Experience(key="hero", experience_context={"moe_variation_id": "2"})
    failed = Experience(key="hero", reason=Reason.TIMEOUT)

    assert answer_text([]).startswith("nothing: ")
    assert answer_text([matched]).endswith("\n  the payload is empty")
    assert answer_text([failed]) == "hero\n  nothing: timeout"


def test_sandbox_that_cannot_listen_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run("sandbox", "--port", str(taken.getsockname()[1]))

    assert result.exit_code != 0


def test_every_command_teaches_with_examples() -> None:
    assert {"check", "fetch", "sandbox", "schema"} <= main.commands.keys()
    for name in ("", *main.commands):
        text = run(*name.split(), "--help").stdout
        assert "Example" in text
        assert f"moe-middleware {name}" in text
        assert click.unstyle(text) == text


def _commands(command: click.Command, names: tuple[str, ...] = ()) -> Iterator[Any]:
    yield pytest.param(names, id=" ".join(names) or "moe-middleware")
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, (*names, name))


@pytest.mark.parametrize("names", [*_commands(main)])
def test_help_fits_into_80_columns(names: tuple[str, ...]) -> None:
    found = cli_runner().invoke(main, [*names, "--help"], terminal_width=80)

    assert found.exit_code == 0
    assert [line for line in found.output.splitlines() if len(line) > 80] == []
