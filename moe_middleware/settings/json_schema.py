"""JSON Schemas of settings files, for editors. Pure: no I/O.

An editor checks the file as it is written, where ``${VAR}`` may replace any value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from .validation import Section
from .value_sources import KINDS, ValueSource

DIALECT = "http://json-schema.org/draft-07/schema#"
"""The draft that SchemaStore asks for: every editor knows it."""

ADDRESS = "https://json.schemastore.org/moe-middleware.json"
"""The schema's own name, an address by SchemaStore's rule."""

_VARIABLE = {"type": "string", "pattern": r"\$\{"}
_NUMBER = {"type": "string", "pattern": r"^[-+]?\.?[0-9][0-9.eE+-]*$|\$\{"}
_FLAG = {"type": "string", "pattern": r"^([Tt]rue|TRUE|[Ff]alse|FALSE)$|\$\{"}
_TEXT = ["string", "number"]
_ABOUT = ("title", "description", "default")


def build_schema(model: type[BaseModel], *, title: str) -> dict[str, Any]:
    """Return the schema of files that hold this model."""
    # pydantic before 2.14 takes sections' defaults only from sections that are built.
    ValueSource.model_rebuild()
    for section in _below(Section):
        section.model_rebuild()
    schema = model.model_json_schema(
        schema_generator=_Generator, ref_template="#/definitions/{model}"
    )
    definitions = schema.pop("$defs")
    whole = {"$schema": DIALECT, **schema, "title": title, "definitions": definitions}
    alone: dict[str, Any] = _with_references_alone(whole)
    return alone


def _below(section: type[Section]) -> Iterator[type[Section]]:
    for one in section.__subclasses__():
        yield one
        yield from _below(one)


def build_settings_schema(
    model: type[BaseModel], reserved_attributes: Iterable[str]
) -> dict[str, Any]:
    """Return the schema of ``moe.yml``, with rules that types cannot express."""
    schema = build_schema(model, title="moe.yml, the settings of moe_middleware")
    schema = {"$schema": DIALECT, "$id": ADDRESS, **schema}
    schema["required"] = ["workspace", "routes"]
    schema["properties"]["routes"]["anyOf"].remove({"type": "null"})
    # The environment may hold the credentials; api_key and api_keys exclude each other.
    workspace = schema["definitions"]["Workspace"]
    del workspace["required"]
    workspace["not"] = {"required": ["api_key", "api_keys"]}
    reserved = {"not": {"enum": sorted(reserved_attributes)}}
    for section in (schema, schema["definitions"]["Route"]):
        section["properties"]["attributes"]["propertyNames"] = reserved
    return schema


def _with_references_alone(schema: Any) -> Any:
    """Return a schema in which nothing stands beside a ``$ref``: draft 7 ignores it."""
    if isinstance(schema, list):
        return [_with_references_alone(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: _with_references_alone(one) for name, one in schema.items()}
    if "$ref" in inner and len(inner) > 1:
        inner["allOf"] = [{"$ref": inner.pop("$ref")}]
    return inner


class _Generator(GenerateJsonSchema):
    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        generated = super().model_schema(schema)
        if schema["cls"] is ValueSource:
            return _one_source(generated)
        required = generated.get("required", [])
        generated["properties"] = {
            name: inner if name in required else _or_null(inner)
            for name, inner in generated["properties"].items()
        }
        return generated

    def str_schema(self, schema: core_schema.StringSchema) -> JsonSchemaValue:
        # Digits without quotes are valid where text is expected.
        generated = {**super().str_schema(schema), "type": _TEXT}
        if "maxLength" in generated:
            return {"anyOf": [generated, _VARIABLE]}
        return generated

    def int_schema(self, schema: core_schema.IntSchema) -> JsonSchemaValue:
        return {"anyOf": [super().int_schema(schema), _NUMBER]}

    def float_schema(self, schema: core_schema.FloatSchema) -> JsonSchemaValue:
        return {"anyOf": [super().float_schema(schema), _NUMBER]}

    def bool_schema(self, schema: core_schema.BoolSchema) -> JsonSchemaValue:
        return {"anyOf": [super().bool_schema(schema), _FLAG]}

    def literal_schema(self, schema: core_schema.LiteralSchema) -> JsonSchemaValue:
        return {"anyOf": [super().literal_schema(schema), _VARIABLE]}


def _or_null(schema: JsonSchemaValue) -> JsonSchemaValue:
    """Allow a key without a value, as when all its lines are comments."""
    about: JsonSchemaValue = {}
    rest: JsonSchemaValue = {}
    for name, value in schema.items():
        (about if name in _ABOUT else rest)[name] = value
    options = rest["anyOf"] if set(rest) == {"anyOf"} else [rest]
    if {"type": "null"} not in options:
        options = [*options, {"type": "null"}]
    return {**about, "anyOf": options}


def _one_source(schema: JsonSchemaValue) -> JsonSchemaValue:
    about = {kind: schema["properties"][kind]["description"] for kind in KINDS}
    return {
        "title": ValueSource.__name__,
        "description": schema["description"],
        "type": "object",
        "additionalProperties": False,
        "properties": {
            kind: {"type": _TEXT, "description": about[kind]} for kind in KINDS
        },
        "oneOf": [{"required": [kind]} for kind in KINDS],
    }
