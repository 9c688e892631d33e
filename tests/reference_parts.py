"""Writes those parts of docs/reference/ that the code knows: settings and commands.

``python -m tests.reference_parts`` writes each part between its marks in its page:
``<!-- begin settings -->`` and ``<!-- end settings -->``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import yaml

from moe_middleware import Settings, ValueSource
from moe_middleware.cli import main
from moe_middleware.settings.overrides import VARIABLES

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"

# --- settings ------------------------------------------------------------------------

SCHEMA = Settings.json_schema()
SECTIONS: Mapping[str, Any] = SCHEMA["definitions"]
SOURCE = "[value source](#where-a-value-comes-from)"
VARIABLE_OF = {".".join(map(str, place)): name for name, place in VARIABLES.items()}


def settings() -> Iterator[str]:
    """Yield every setting: its type, default, variable and meaning."""
    for name, schema in SCHEMA["properties"].items():
        section = _section_of(schema)
        inner = SECTIONS[section]["properties"] if section else {}
        path = f"{name}[]" if name == "routes" else name
        yield from _setting("###", name, schema, Settings, required=name == "workspace")
        model = _model_of(section) if section else Settings
        for key, one in inner.items():
            yield from _setting(
                "####",
                f"{path}.{key}",
                one,
                model,
                required=model.model_fields[key].is_required(),
            )


def _setting(
    level: str, place: str, schema: Any, model: Any, *, required: bool
) -> Iterator[str]:
    field = model.model_fields[place.rpartition(".")[2]]
    anchor = place.replace("[]", "").replace(".", "-")
    yield f"{level} `{place}` {{ #{anchor} }}"
    facts = [_kind(schema)]
    if required or place == "routes":
        facts.append("required")
    elif (default := _default(schema, field)) is not None:
        facts.append(f"default {default}")
    if variable := VARIABLE_OF.get(place):
        facts.append(f"variable `{variable}`")
    yield " · ".join(facts) + "\n{ .facts }"
    yield _as_code(str(field.description))


def _section_of(schema: Any) -> str | None:
    """Return the section that a setting holds, alone or in a list."""
    for one in _options(schema):
        reference = one.get("$ref") or one.get("items", {}).get("$ref", "")
        name: str = reference.rpartition("/")[2]
        if name and name != ValueSource.__name__:
            return name
    return None


def _model_of(section: str) -> Any:
    module = inspect.getmodule(Settings)
    found = getattr(module, section, None)
    assert found is not None, section
    return found


def _options(schema: Any) -> list[Any]:
    """Return a schema's alternatives, without null and a variable in its place."""
    options = schema.get("anyOf") or schema.get("allOf") or [schema]
    given = [one for one in options if one.get("type") != "null"]
    own = [one for one in given if not one.get("pattern", "").endswith(r"\$\{")]
    return own or given


def _kind(schema: Any) -> str:
    kinds = dict.fromkeys(map(_one_kind, _options(schema)))
    return " or ".join(kinds)


def _one_kind(schema: Any) -> str:
    reference = schema.get("$ref", "")
    if reference.endswith(f"/{ValueSource.__name__}"):
        return SOURCE
    if reference:
        return "section"
    if "anyOf" in schema:
        return _kind(schema)
    if "enum" in schema:
        words = [one for one in schema["enum"] if isinstance(one, str)]
        words = [one for one in words if not one.islower() or one.upper() not in words]
        return _one_of([f"`{one}`" for one in words])
    match schema["type"]:
        case "array":
            inner = _kind(schema["items"])
            if inner == "section":
                return "list of sections"
            many = f", at most {schema['maxItems']}" if "maxItems" in schema else ""
            return f"list of {inner.replace('text', 'texts', 1)}{many}"
        case "object":
            at_most = schema.get("maxProperties")
            many = f", at most {at_most}" if at_most else ""
            return f"mapping from names to {SOURCE}s{many}"
        case "boolean":
            return "`true` or `false`"
        case "integer":
            return f"whole number{_bounds(schema)}"
        case "number":
            return f"seconds{_bounds(schema)}"
        case _:
            return "text"


def _one_of(words: list[str]) -> str:
    return ", ".join(words[:-1]) + f" or {words[-1]}"


def _bounds(schema: Any) -> str:
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high = schema.get("maximum")
    if above is not None:
        text = f", above {above}"
    else:
        text = f", from {low}" if low is not None else ""
    if high is not None:
        text += f" to {high:,}" if low is not None else f", at most {high:,.0f}"
    return text


def _default(schema: Any, field: Any) -> str | None:
    """Return a default as it would stand in the file; None for a section's own."""
    if _section_of(schema):
        return None if schema.get("default", "") is not None else "none"
    value = schema.get("default", {} if "default" not in schema else None)
    if value is None:
        return "not set"
    if isinstance(value, dict):
        value = {key: one for key, one in value.items() if one is not None}
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value in ("on", "off"):  # YAML 1.2, which the file is, needs no quotes
        return f"`{value}`"
    text = yaml.safe_dump(value, default_flow_style=True, width=200)
    shown = text.replace("'", '"').removesuffix("...\n").strip()
    return f"`{shown}`"


def _as_code(text: str) -> str:
    """Mark names, addresses and quoted words in a description as code."""
    # The variable has a place of its own.
    text = re.sub(r" ?\(or MOE_[^)]*\)| Or MOE_\w+\.", "", text)
    text = re.sub(r"(?<!\w)'([^']+)'(?!\w)", r"`\1`", text)
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part if part[:1] == "`" else _CODE.sub(r"`\g<0>`", part) for part in parts
    )


_CODE = re.compile(
    r"(?<![\w/])(?:[\w.*{}/:\[\]=+~-]*[_*{}/=][\w.*{}/:\[\]=+~-]*[\w*}\]/]|memory:"
    r"|[A-Z][\w-]+: 1|\b\w+\.(?:vary|path)\b)"
)


# --- commands ------------------------------------------------------------------------


def commands() -> Iterator[str]:
    """Yield a list of all commands, and of each the usage, options and examples."""
    rows = ["| command | what it does |", "|---|---|"]
    for name in sorted(main.commands):
        about = _escaped(main.commands[name].get_short_help_str(200))
        rows.append(f"| [`moe-middleware {name}`](#{name}) | {about} |")
    yield "\n".join(rows)
    for name in sorted(main.commands):
        yield from _command("##", main.commands[name], f"moe-middleware {name}")


def _command(level: str, command: click.Command, path: str) -> Iterator[str]:
    context = click.Context(command, info_name=path)
    anchor = path.removeprefix("moe-middleware ").replace(" ", "-")
    yield f"{level} `{path}` {{ #{anchor} }}"
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"```text\n{path} {usage}\n```"
    yield from _paragraphs(command.help or "")
    options = [one for one in command.params if isinstance(one, click.Option)]
    if options:
        yield "\n".join(_option(one, context) for one in options)
    yield from _paragraphs(command.epilog or "")
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            yield from _command("###", command.commands[name], f"{path} {name}")


def _option(option: click.Option, context: click.Context) -> str:
    record = option.get_help_record(context)
    assert record is not None, option.name
    names, about = record
    return f"- `{names}`: {_escaped(' '.join(about.split()))}"


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        title, _, rest = paragraph.removeprefix("\b\n").partition("\n")
        if title.endswith(":") and rest.startswith("  "):
            yield f"{title}"
            yield f"```text\n{inspect.cleandoc(chr(10) + rest)}\n```"
        elif paragraph.strip("\b\n "):
            yield _escaped(" ".join(paragraph.replace("\b", "").split()))


def _escaped(text: str) -> str:
    return re.sub(r"([*_\[\]<>])", r"\\\1", text)


# --- pages ---------------------------------------------------------------------------

PARTS: Mapping[str, tuple[str, Callable[[], Iterator[str]]]] = {
    "settings": ("settings.md", settings),
    "commands": ("cli.md", commands),
}
"""Each part's name, its page below docs/reference/, and what makes it."""


def with_part(page: str, name: str, made: Iterator[str]) -> str:
    """Return a page's text with one part made anew."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    before, _, rest = page.partition(begin)
    _, found, after = rest.partition(end)
    assert found, f"the page needs {begin} and {end}"
    return before + "\n\n".join([begin, *made, end]) + after


def write() -> None:
    """Write every part into its page."""
    for name, (file, make) in PARTS.items():
        page = REFERENCE / file
        text = with_part(page.read_text(encoding="utf-8"), name, make())
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
