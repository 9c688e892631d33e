from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moe_middleware.models.errors import SettingsError
from moe_middleware.settings.documents import Document, Override
from moe_middleware.settings.reading import MAX_BYTES, parse_document, read_document
from moe_middleware.settings.settings import Settings
from moe_middleware.settings.validation import Mistake
from moe_middleware.settings.variables import VariableError, Variables

from ..rows import each


def parse(text: str, **environ: str) -> Document:
    return parse_document(text, file="moe.yml", variables=Variables(environ))


def problems(text: str, **environ: str) -> list[str]:
    return [str(problem) for problem in parse(text, **environ).problems()]


def scalar(text: str, **environ: str) -> Any:
    document = parse(f"key: {text}", **environ)
    assert document.problems() == []
    return document.tree["key"]


@each(
    ("text", "value"),
    [
        ("true", True),
        ("FALSE", False),
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("No", "No"),
        ("tRUE", "tRUE"),
        ("", None),
        ("~", None),
        ("null", None),
        ("'null'", "null"),
        ("'true'", "true"),
        ("0", 0),
        ("-12", -12),
        ("+7", 7),
        ("0x1F", 31),
        ("0o17", 15),
        ("03", "03"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("1:30", "1:30"),
        ("0.3", 0.3),
        ("-.5", -0.5),
        ("1e3", 1000.0),
        ("1.", 1.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("'0.3'", "0.3"),
        ("2026-11-22", "2026-11-22"),
        ("=", "="),
        ("!!str 3", "3"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_scalar_means_what_yaml_1_2_says(text: str, value: object) -> None:
    found = scalar(text)

    assert found == value
    assert isinstance(found, type(value))


def test_not_a_number_is_a_number() -> None:
    assert math.isnan(scalar(".nan"))


def test_number_keeps_its_digits_as_text() -> None:
    assert [str(scalar(text)) for text in ("1.10", "1e5", "0x1F", "+7")] == [
        "1.10",
        "1e5",
        "0x1F",
        "+7",
    ]


def test_keys_are_always_text() -> None:
    tree = parse("on: 1\ntrue: 2\n03: 3\n1.0: 4\n~: 5\n'q': 6").tree

    assert tree == {"on": 1, "true": 2, "03": 3, "1.0": 4, "~": 5, "q": 6}


@each(
    ("text", "value"),
    [
        ("${T}", 0.5),
        ("'${T}'", "0.5"),
        ("${T}s", "0.5s"),
        ("${NO:-0.3}", 0.3),
        ("${NO:-true}", True),
        ("${NO:-}", None),
        ("${EMPTY}", None),
        ("'${EMPTY}'", ""),
        ("${EMPTY:-full}", "full"),
        ("${NO:-a b:c}", "a b:c"),
        ("$${T}", "${T}"),
        ("$$${T}", "$${T}"),
        ("$T", "$T"),
        ("${YAML}", "[a, b] # c"),
        ("${NESTED}", "${T}"),
    ],
)
def test_variable_is_filled_in_after_parsing(text: str, value: object) -> None:
    found = scalar(text, T="0.5", EMPTY="", YAML="[a, b] # c", NESTED="${T}")

    assert found == value


def test_keys_hold_no_variables() -> None:
    assert parse("${T}: 1", T="x").tree == {"${T}": 1}


@pytest.mark.parametrize("text", ["${", "a${b", "${1ST}", "${A b}", "${}"])
def test_half_a_variable_is_a_problem(text: str) -> None:
    (problem,) = problems(f"\nkey: '{text}'")

    assert problem.startswith("moe.yml:2: key: '${")
    assert "write ${VAR} or ${VAR:-default}" in problem


def test_variable_falls_back_to_the_file_it_names(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("  sekret \n")

    found = Variables({"KEY_FILE": str(tmp_path / "secret")})

    assert found.get("KEY") == "sekret"
    assert found.fill_in("${KEY:-other}!") == "sekret!"


def test_variable_itself_comes_before_its_file(tmp_path: Path) -> None:
    assert Variables({"KEY": "near", "KEY_FILE": str(tmp_path)}).get("KEY") == "near"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"\xff\xfe", "it is not UTF-8 text"),
        (b"sekret" * 20_000, "it is too large for a secret"),
    ],
    ids=["empty", "blank", "binary", "large"],
)
def test_useless_secret_file_is_reported_without_its_content(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    (tmp_path / "hidden").write_bytes(content)

    with pytest.raises(VariableError) as caught:
        Variables({"KEY_FILE": str(tmp_path / "hidden")}).get("KEY")

    assert reason in str(caught.value)
    assert "sekret" not in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_name_that_is_no_file_name_is_reported() -> None:
    with pytest.raises(VariableError, match="no file name"):
        Variables({"KEY_FILE": "a\0b"}).get("KEY")


def nested(step: str, levels: int) -> str:
    """Return blocks, each within the one above it."""
    return "\n".join(" " * level + step for level in range(levels))


# Parsers have limits of their own, and read ahead: each depth is met by another check.
TOO_DEEP = [
    opening * levels
    for opening in ("[", "{", "[{a: ", "- ", "? ", '["]", ', "['[]', ")
    for levels in (60, 900, 1100, 20_000)
]


@each(
    ("text", "problem"),
    [
        ("", "moe.yml:1: is empty: it needs a mapping, lines of 'key: value'"),
        ("# only\n", "moe.yml:1: is empty: it needs a mapping, lines of 'key: value'"),
        ("\n- a", "moe.yml:2: is not a mapping: write lines of 'key: value'"),
        ("text", "moe.yml:1: is not a mapping: write lines of 'key: value'"),
        ("a: 1\n---\nb: 2", "moe.yml:2: is not YAML: a second document begins here"),
        ("a:\n\t- b", "moe.yml:2: is not YAML: a tab indents this line"),
        ("a: 1\nb: c: d", "moe.yml:2: is not YAML: "),
        ("a: [1,\n2", "moe.yml:2: is not YAML: "),
        ("a: 'x", "moe.yml:1: is not YAML: "),
        ("a: 1\nb: {a: b", "moe.yml:2: is not YAML: "),
        ("a: @b", "moe.yml:1: is not YAML: "),
        ("a: &b 1\nc: *c", "moe.yml:2: is not YAML: an alias (*name) whose anchor"),
        ("a: *b", "moe.yml:1: is not YAML: an alias (*name) whose anchor"),
        ("a: {b: /c/{d}/, e: f}", "moe.yml:1: is not YAML: put a path with braces in"),
        ("a:\n- {b: [/c/{d}],\n   e: f}", "moe.yml:2: is not YAML: put a path with br"),
        ("a: [/{d:int}]", "moe.yml:1: is not YAML: put a path with braces in quotes"),
        ("a: [b-${C}]", "moe.yml:1: is not YAML: put ${...} in quotes within [ ] and"),
        ("a: |\n  [x{y}\nb: c: d", "moe.yml:3: is not YAML: "),
        ("a:\n  {b: ${C}}", "moe.yml:2: is not YAML: put ${...} in quotes within [ ]"),
        ("é: 1\na: \x01", "moe.yml:2: holds a control character: remove it"),
        ("a: 1\nb: \ud800", "moe.yml:2: is not UTF-8 text: save it as UTF-8"),
        ("a: 1\na: 2", "moe.yml:2: a: duplicate key 'a': line 1 has it already"),
        ("a: {b: 1, b: 2}", "moe.yml:1: a.b: duplicate key 'b'"),
        ("a: &x {b: 1}\nc:\n  <<: *x", "moe.yml:3: c.<<: merge keys (<<) are not in"),
        ("? [a]\n: b", "moe.yml:1: a key is a list or a mapping: keys are text"),
        ("a: !!python/name:os.system x", "moe.yml:1: a: the tag 'tag:yaml.org,2002:py"),
        ("a: &a [*a]", "moe.yml:1: holds an alias of itself"),
        *((text, "moe.yml:1: nests more than 50 levels deep") for text in TOO_DEEP),
        (nested("a:", 60), "moe.yml:51: nests more than 50 levels deep"),
        (nested("a:", 5000), "moe.yml:51: nests more than 50 levels deep"),
        ("a: [" + "b," * 210_000 + "]", "moe.yml:1: holds more than 100000 values"),
    ],
)
def test_broken_text_is_one_problem_with_its_line(text: str, problem: str) -> None:
    (found,) = problems(text)

    assert found.startswith(problem)


def test_a_parser_without_libyaml_finds_the_same() -> None:
    texts = ["a: 1\nb: [*c]", "a: 1\n---\nb: 2", "a:\n\t- b", "[" * 9_000, "a: 'x"]
    program = (
        "import yaml\n"
        "del yaml.CSafeLoader\n"
        "from moe_middleware import Settings, SettingsError\n"
        "from moe_middleware.settings.reading import parse_document\n"
        "from moe_middleware.settings.variables import Variables\n"
        f"for text in {texts!r}:\n"
        "    (found,) = parse_document(text, variables=Variables({})).problems()\n"
        "    print(found.line, str(found)[:40])\n"
    )
    expected = []
    for text in texts:
        (found,) = parse_document(text, variables=Variables({})).problems()
        expected.append(f"{found.line} {str(found)[:40]}")

    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert ran.stdout.splitlines() == expected


def test_billion_laughs_end_early() -> None:
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    for level in range(1, 10):
        aliases = ", ".join([f"*a{level - 1}"] * 9)
        text += f"a{level}: &a{level} [{aliases}]\n"

    document = parse(text)

    assert not document.readable
    (problem,) = document.problems()
    assert "more than 100000 values, its aliases spelled out" in str(problem)


def test_all_problems_come_in_line_order() -> None:
    document = parse("a: 1\nb:\n  - x\n  - ${NO}\na: 2\nc: 3\n")

    found = document.problems(
        [Mistake(("c",), "wrong"), Mistake(("b", 0), "bad"), Mistake(("z",), "gone")]
    )

    assert [(problem.line, problem.where) for problem in found] == [
        (1, "z"),
        (3, "b.0"),
        (4, "b.1"),
        (5, "a"),
        (6, "c"),
    ]


def test_missing_variable_hides_what_follows_from_it() -> None:
    document = parse("a: ${NO}")

    (problem,) = document.problems([Mistake(("a",), "is empty")])

    assert "the variable NO is not set" in problem.message


def test_message_shows_the_variable_and_not_its_value() -> None:
    document = parse("a: ${LONG}\nb: ${SHORT}", LONG="sekret", SHORT="is")

    found = document.problems(
        [
            Mistake(("a",), "'sekret' is wrong: write /sekret"),
            Mistake(("b",), "'is' is wrong"),
        ]
    )

    assert [problem.message for problem in found] == [
        "'${LONG}' is wrong: write /${LONG}",
        "'${SHORT}' is wrong",
    ]


def test_forgiven_variable_is_left_out() -> None:
    document = parse("a: {b: ['${NO}', '${NEITHER}'], c: 1}")

    document.forgive(("a", "b"))

    assert document.tree == {"a": {"c": 1}}
    assert document.problems() == []


def test_forgiving_keeps_what_is_there() -> None:
    document = parse("a: {b: 1}")

    document.forgive(("a", "b"))

    assert document.tree == {"a": {"b": 1}}


def test_overrides_replace_add_and_remove() -> None:
    document = parse_document(
        "a: {b: '${NO}', c: 1}\nd:\ne: text",
        variables=Variables({}),
        overrides={
            ("a", "b"): Override("new"),
            ("a", "c"): Override(None),
            ("d", "x"): Override(1),
            ("e", "y", "z"): Override(1),
            ("f", "z"): Override(2),
        },
    )

    assert document.tree == {
        "a": {"b": "new"},
        "d": {"x": 1},
        "e": "text",
        "f": {"z": 2},
    }
    assert document.problems() == []


def read(path: Path) -> list[str]:
    document = read_document(path, variables=Variables({}))
    return [str(problem) for problem in document.problems()]


def test_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "latin.yml").write_bytes(b"a: 1\nb: \xe9\n")
    (tmp_path / "large.yml").write_bytes(b"#" * (MAX_BYTES + 1))

    assert read(tmp_path) == [f"{tmp_path}: is a directory: name the file in it"]
    assert read(tmp_path / "latin.yml") == [
        f"{tmp_path}/latin.yml:2: is not UTF-8 text: save it as UTF-8"
    ]
    assert read(tmp_path / "large.yml") == [
        f"{tmp_path}/large.yml: is larger than {MAX_BYTES} bytes"
    ]
    assert "cannot be read: " in read(Path("a" * 5000))[0]
    assert "cannot be read: its name is no file name" in read(Path("a\0b"))[0]


def test_byte_order_mark_is_no_part_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "moe.yml").write_bytes(b"\xef\xbb\xbfa: 1\n")

    found = read_document(tmp_path / "moe.yml", variables=Variables({}))

    assert found.tree == {"a": 1}


fragments = st.sampled_from(
    ["workspace:", "\n", " ", "  ", "- ", "routes:", "path: /", "{", "}", "[", "]",
     ": ", "${A}", "${B:-1}", "${", "&a ", "*a", "<<: ", "'", '"', "|", "\t", "---",
     "!x ", "id: ", "on", "03", "1e999", "\x00", "\ud800", "é"]
)  # fmt: skip


@given(text=st.text() | st.lists(fragments, max_size=30).map("".join))
def test_no_text_raises(text: str) -> None:
    document = parse(text, A="value")

    assert document.readable or document.problems()
    assert all(problem.line for problem in document.problems())


@given(content=st.binary() | st.lists(fragments, max_size=30).map("".join))
def test_no_file_raises_anything_but_a_settings_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes | str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yml"
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogatepass")
    path.write_bytes(content)

    with pytest.raises(SettingsError) as caught:
        Settings.load(path, environ={"A": "value"})

    assert caught.value.problems
