"""``types`` writes classes that work; ``check`` compares them and the templates."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment

from moe_middleware import Experience, Experiences
from moe_middleware.cli.class_source import MARK, source_of
from moe_middleware.cli.template_keys import read_names

from ..cli_runner import run
from ..test_user_types import mypy

WORKSPACE = """
users: [{id: ada, attributes: {tier: gold}}]
experiences:
  - key: hello-banner
    name: Hello banner
    locales: [pt]
    audiences:
      - name: Gold members
        where: {attribute: tier, is: gold}
        variations:
          - {payload: {Title: Gold, "CTA Label": Shop, Percent: 15}, percent: 50}
          - payload: {Title: Gold, "CTA Label": Buy, Percent: 15}
            percent: 50
            locales: {pt: {"CTA Label": Comprar, Percent: 12.5}}
      - name: All Users
        variations: [{payload: {Title: "Hello {{UserAttribute['Name']}}"}}]
  - key: other-banner
    name: Other banner
    audiences: [{name: All Users, variations: [{payload: {Text: x}}]}]
  - key: empty-banner
    name: Empty banner
    audiences: [{name: All Users, variations: [{payload: {}}]}]
"""
SETTINGS = """
workspace: {data_center: sandbox}
routes: [{path: /, experiences: [hello-banner, homepage-banner]}]
"""


OF_WORKSPACE = ["--workspace", "workspace.yml"]


@pytest.fixture
def folder(folder: Path) -> Iterator[Path]:
    (folder / "workspace.yml").write_text(WORKSPACE)
    (folder / "moe.yml").write_text(SETTINGS)
    yield folder
    sys.modules.pop("shop_types", None)
    sys.modules.pop("heroes", None)


OF_FILE = f'''{MARK}
"""The payloads of the experiences, as moe_middleware reads them."""

from __future__ import annotations

from typing import Final, NotRequired, TypedDict


class EmptyBanner(TypedDict):
    # "empty-banner"
    pass


# "hello-banner"
HelloBanner = TypedDict(
    "HelloBanner",
    {{
        "CTA Label": NotRequired[str],
        "Percent": NotRequired[float],
        "Title": str,
    }},
)


class OtherBanner(TypedDict):
    # "other-banner"
    Text: str


PAYLOADS: Final[dict[str, type]] = {{
    "empty-banner": EmptyBanner,
    "hello-banner": HelloBanner,
    "other-banner": OtherBanner,
}}
"""The class of each experience's payload, by key."""
'''


def test_a_workspace_file_has_all_variations(folder: Path) -> None:
    command = ["types", "--workspace", "workspace.yml"]

    shown = run(*command)
    written = run(*command, "--write", "shop_types.py")
    again = run(*command, "--write", "shop_types.py")
    one = run(*command, "other-banner").stdout

    assert shown.stdout == (folder / "shop_types.py").read_text() == OF_FILE
    assert written.stdout == "shop_types.py: 3 types, written\n"
    assert again.stdout == "shop_types.py: 3 types, as before\n"
    assert "class OtherBanner" in one
    assert "HelloBanner" not in one


@pytest.mark.usefixtures("sandbox")
def test_a_workspace_is_asked_for_sample_customers(folder: Path) -> None:
    unknown = run("types").stdout
    both = run("types", "--customer", "alice", "--customer", "dave")
    turned = run("types", "--customer", "dave", "--customer", "alice")

    assert "PriceBadge" not in unknown
    assert both.exit_code == 0
    assert both.stdout == turned.stdout
    assert '        "Percent": int,\n' in both.stdout
    assert '        "Products": dict[str, Any],\n' in both.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nope-banner", "--workspace", "workspace.yml"], "nope-banner: no payload"),
        (["--workspace", "missing.yml"], "missing.yml"),
        (
            ["--workspace", "workspace.yml", "--write", "mine.py"],
            "mine.py: not written",
        ),
        (
            ["--workspace", "workspace.yml", "--write", "binary.py"],
            "binary.py: not written",
        ),
        (["--workspace", "workspace.yml", "--write", "no/such.py"], "no/such.py: cann"),
        (["--config", "refused.yml"], "TransportError: no connection"),
    ],
)
def test_what_cannot_be_done_is_reported(
    folder: Path, arguments: list[str], complaint: str
) -> None:
    (folder / "mine.py").write_text("x = 1\n")
    (folder / "binary.py").write_bytes(b"\x80")
    (folder / "refused.yml").write_text(
        "workspace: {id: W, api_key: K, base_url: 'http://127.0.0.1:9/v1'}\n"
        "routes: []\n"
    )

    result = run("types", *arguments)

    assert result.exit_code == 1
    assert result.stderr.startswith(complaint)
    assert (folder / "mine.py").read_text() == "x = 1\n"


STRANGE: dict[str, list[dict[str, Any]]] = {
    "homepage-banner": [{"Title": "x", "n": 1}, {"Title": None, "n": 1.5}],
    "homepage_banner": [{"list": ["a", 1]}, {"list": []}],
    "5-off": [{"class": True, "__x": 1, 'a"b': "", "ﬁ": "", "\x00\n": {}}],
    "none": [{"empty": [], "l": 1}],
    "": [{"CTA Label": ""}],
    "any": [],
    "---": [{}],
    "\U00010107\U00010107": [{"x": 1}],
    "größe": [{"Größe": [[1], [None]]}],
}


def test_strange_names_become_python_that_type_checkers_and_ruff_take(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of(STRANGE)
    (folder / "shop_types.py").write_text(source, encoding="utf-8")
    (folder / "user.py").write_text(
        "from moe_middleware import Experiences\n"
        "from shop_types import GröSSe, HomepageBanner, PAYLOADS\n".replace("öSS", "öß")
        + "def view(found: Experiences) -> None:\n"
        "    hero = found.typed('homepage-banner', HomepageBanner)\n"
        "    reveal_type(hero['n'] if hero else None)\n"
    )
    ruff = [sys.executable, "-m", "ruff"]
    selected = ["--select", "E,F,W,I,UP,B,RUF", "--ignore", "RUF001,RUF003,E501"]

    monkeypatch.syspath_prepend(folder)
    classes = import_module("shop_types").PAYLOADS
    readable = {
        key: Experiences(
            [Experience(key=key, payload=one, experience_context={"cid": "x"})]
        ).typed(key, classes[key])
        for key, payloads in STRANGE.items()
        for one in payloads
    }
    for command in (["check", "--isolated", *selected], ["format", "--check"]):
        subprocess.run([*ruff, *command, "shop_types.py"], cwd=folder, check=True)
    shown = "\n".join(mypy(folder, "user.py", "shop_types.py"))

    assert None not in readable.values()
    assert len({*classes.values()}) == len(STRANGE)
    assert "float | None" in shown
    assert " error: " not in shown


# --- check ------------------------------------------------------------------

HEROES = """
from dataclasses import dataclass
from typing import Literal, TypedDict

class Hello(TypedDict):
    Titel: str
    # One of the titles is made for each visitor, which no type knows before.
    Title: Literal["Gold"]

@dataclass
class Other:
    text: int

PAYLOADS = {
    "hello-banner": Hello,
    "other-banner": Other,
    "newer-banner": Other,
    "empty-banner": Other,
}
WRONG = {"hello-banner": int}
LIST = [Hello]
"""
TEMPLATE = """
{% experience "hello-banner" as hello %}{{ hello.Titel }} {{ hello["CTA Label"] }}
{{ hello|value:"Percnt" }}{{ hello.get("Title") }}{{ hello.click_url("/") }}
{% endexperience %}{{ hello.Elsewhere }}
"""


def test_templates_and_types_are_compared_with_a_workspace(folder: Path) -> None:
    (folder / "heroes.py").write_text(HEROES)
    (folder / "page.html").write_text(TEMPLATE)

    result = run(
        *("check", "--templates", "page.html", "--workspace", "workspace.yml"),
        *("--types", "heroes"),
    )

    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "warning: heroes: newer-banner: no payload of it is known, so its type was not "
        "compared",
        "page.html:2: no payload of 'hello-banner' has 'Titel': did you mean 'Title'?",
        "page.html:3: no payload of 'hello-banner' has 'Percnt': did you mean "
        "'Percent'?",
        *(
            f"heroes: hello-banner: variation {variation} lacks 'Titel', which Hello "
            "needs: did you mean 'Title'?"
            for variation in (
                *("1 of 'Gold members'", "2 of 'Gold members'"),
                *("2 of 'Gold members', pt", "1 of 'All Users'"),
            )
        ),
        "heroes: other-banner: variation 1 of 'All Users': 'Text' is str, and in Other "
        "int (int_parsing)",
        "heroes: empty-banner: variation 1 of 'All Users' lacks 'text', which Other "
        "needs: it is empty",
    ]


def test_what_was_written_fits(folder: Path) -> None:
    run("types", "--workspace", "workspace.yml", "--write", "shop_types.py")

    result = run("check", "--workspace", "workspace.yml", "--types", "shop_types")

    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.usefixtures("sandbox")
def test_templates_are_compared_with_answers(folder: Path) -> None:
    (folder / "page.html").write_text(
        '{% experience "homepage-banner" %}{{ experience.Tilte }}{% endexperience %}'
    )

    result = run("check", "--templates", "page.html", "--customer", "alice")

    [complaint] = result.stderr.splitlines()
    assert complaint.endswith("has 'Tilte': did you mean 'Title'?")


@pytest.mark.parametrize(
    ("options", "code", "complaint"),
    [
        (["--types", "heroes"], 2, "--types needs --customer or --workspace"),
        (
            ["--types", "nowhere", "--workspace", "workspace.yml"],
            1,
            "nowhere: it cannot",
        ),
        (
            ["--types", "heroes:WRONG", "--workspace", "workspace.yml"],
            1,
            "no TypedDict",
        ),
        (["--types", "heroes:LIST", "--workspace", "workspace.yml"], 1, "no mapping"),
        (
            ["--types", "script", "--workspace", "workspace.yml"],
            1,
            "'script' ends the process while it is imported",
        ),
    ],
)
def test_types_that_cannot_be_compared(
    folder: Path, options: list[str], code: int, complaint: str
) -> None:
    (folder / "heroes.py").write_text(HEROES)
    (folder / "script.py").write_text("import sys\nsys.exit(0)\n")

    result = run("check", *options)

    assert result.exit_code == code
    assert complaint in result.stderr


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ('{% experience "a" %}{{ experience.X }}{% endexperience %}', ["a.X"]),
        ('{% experience "a" as h %}{% if h.X and not h["Y Z"] %}', ["a.X", "a.Y Z"]),
        ('{% experience "a" as h %}{{ h.payload }}{{ h.source }}{{ h["source"] }}',
         ["a.source"]),
        ('{% experience "a" as h %}{{ x.h.X }}{{ h }}{{ h[0] }}{{ h[x] }}', []),
        ('{% experience k as h %}{{ h.X }}{% endexperience %}{{ h.X }}', []),
        ('{% experience "a" as h %}{% experience "b" as i %}{{ h.X }}{{ i.Y }}'
         '{% endexperience %}{{ i.Z }}{{ h.Z }}', ["a.X", "b.Y", "a.Z"]),
        ('{% experience "a" as h %}{% else %}{% endexperience %}{{ h.X }}', []),
        ('{% experience "a" as h %}{% comment %}{{ h.X }}{% endcomment %}'
         '{% verbatim %}{{ h.Y }}{% endverbatim %}{{ h.Z }}', ["a.Z"]),
    ],
)  # fmt: skip
def test_names_that_bodies_read_are_found(source: str, names: list[str]) -> None:
    found = read_names(Environment(autoescape=True), source)

    assert [f"{key}.{name}" for key, name, _ in found] == names
