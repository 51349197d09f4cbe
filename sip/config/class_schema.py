"""The JSON Schema of a class: types and ranges of its fields, texts of its docstring."""

import inspect
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from sip.core.docstrings import arguments_of

Schema = dict[str, Any]

# A value that another key gives, or that a preset must state.
INTERPOLATION: Schema = {"type": "string", "pattern": r"\$\{|^\?\?\?$"}


def class_schema(kind: type, parts: Mapping[str, Schema]) -> tuple[Schema, dict[str, Schema]]:
    """Return the schema of a class, and those of the classes of its fields by their names.

    Args:
        kind: A component, or a class with annotations or without.
        parts: Field -> schema of what a choice of a group gives.
    """
    schema = _fields(kind)
    texts = arguments_of(above.__doc__ or "" for above in kind.__mro__ if above is not object)
    definitions = schema.pop("$defs", {})
    properties = {name: _loose(value) for name, value in schema["properties"].items()}
    for name, value in properties.items():
        if name in parts:
            properties[name] = parts[name]
        elif text := texts.get(name):
            value["description"] = text
    known: Schema = {"_target_": {}, "defaults": {}}
    made = {
        "description": " ".join((kind.__doc__ or "").partition("\n\n")[0].split()),
        "type": "object",
        "properties": properties | known,
        "additionalProperties": False,
    }
    return made, {name: _with_interpolations(inner) for name, inner in definitions.items()}


def or_interpolation(schema: Schema) -> Schema:
    """Return the schema of a value that may be an interpolation in place of it."""
    if not schema.keys() - {"description"}:
        return schema
    rest = dict(schema)
    text = {"description": rest.pop("description")} if "description" in rest else {}
    return {**text, "anyOf": [rest, INTERPOLATION]}


def _with_interpolations(schema: Schema) -> Schema:
    """Return a schema in which values within the value may be interpolations, at any depth."""
    changed = dict(schema)
    for key, value in schema.items():
        if key == "properties":
            changed[key] = {name: _loose(inner) for name, inner in value.items()}
        elif key == "prefixItems":
            changed[key] = [_loose(inner) for inner in value]
        elif key == "anyOf":
            changed[key] = [_with_interpolations(inner) for inner in value]
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            changed[key] = _loose(value)
    changed.pop("required", None)  # a preset or a run states some of the keys
    return changed


def _loose(schema: Schema) -> Schema:
    return or_interpolation(_with_interpolations(schema))


def _fields(kind: type) -> Schema:
    if hasattr(kind, "__pydantic_fields__"):
        return TypeAdapter(kind).json_schema(schema_generator=_Generator)
    return {"properties": {name: {} for name in inspect.signature(kind).parameters}}


class _Generator(GenerateJsonSchema):
    """Without titles; any value where a field takes an object of Python."""

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> Schema:
        return {}

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: Any) -> Schema:
        made = super().default_schema(schema)
        made.pop("default", None)  # the YAML of the choice states it
        return made
