"""The keywords of JSON Schema 2020-12 that `sip.config.schema` uses, written down from its text.

A keyword that is not known here fails, so nothing is passed over.
"""

import re
from collections.abc import Callable
from typing import Any

Schema = dict[str, Any]
TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}
ABOUT = {"$schema", "$defs", "title", "description", "then", "default", "format"}
BOUNDS: dict[str, Callable[[Any, Any], bool]] = {
    "minimum": lambda value, bound: value >= bound,
    "maximum": lambda value, bound: value <= bound,
    "exclusiveMinimum": lambda value, bound: value > bound,
    "exclusiveMaximum": lambda value, bound: value < bound,
}
LENGTHS = {"minItems": list, "maxItems": list, "minLength": str, "maxLength": str}


def is_valid(value: Any, schema: Schema, root: Schema) -> bool:
    """Return whether a value fits a schema whose definitions are those of `root`."""
    return all(_fits(value, key, schema, root) for key in schema if key not in ABOUT)


def _fits(value: Any, key: str, schema: Schema, root: Schema) -> bool:
    given = schema[key]
    if key == "$ref":
        return is_valid(value, root["$defs"][given.removeprefix("#/$defs/")], root)
    if key == "type":
        return any(TYPES[name](value) for name in ([given] if isinstance(given, str) else given))
    if key in ("enum", "const"):
        return any(
            type(value) is type(e) and value == e for e in (given if key == "enum" else [given])
        )
    if key in ("anyOf", "allOf"):
        return {"anyOf": any, "allOf": all}[key](is_valid(value, each, root) for each in given)
    if key == "if":
        return not is_valid(value, given, root) or is_valid(value, schema["then"], root)
    if key == "pattern":
        return not isinstance(value, str) or re.search(given, value) is not None
    if key in BOUNDS:
        return not TYPES["number"](value) or BOUNDS[key](value, given)
    if key in LENGTHS:
        longest = key.startswith("max")
        return not isinstance(value, LENGTHS[key]) or (
            len(value) <= given if longest else len(value) >= given
        )
    if key in ("items", "prefixItems", "contains"):
        return not isinstance(value, list) or _items_fit(value, key, given, root)
    if key == "propertyNames":
        return not isinstance(value, dict) or all(is_valid(name, given, root) for name in value)
    if key == "required":
        return not isinstance(value, dict) or all(name in value for name in given)
    if key in ("properties", "patternProperties", "additionalProperties"):
        return not isinstance(value, dict) or _keys_fit(value, key, schema, root)
    raise AssertionError(f"unknown keyword {key}")


def _items_fit(value: list[Any], key: str, given: Any, root: Schema) -> bool:
    if key == "prefixItems":
        return all(is_valid(*pair, root) for pair in zip(value, given, strict=False))
    return (any if key == "contains" else all)(is_valid(item, given, root) for item in value)


def _keys_fit(value: Schema, key: str, schema: Schema, root: Schema) -> bool:
    stated, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    if key == "properties":
        return all(is_valid(value[name], stated[name], root) for name in stated if name in value)
    names = [str(name) for name in value]
    if key == "patternProperties":
        return all(
            is_valid(inner, patterns[pattern], root)
            for name, inner in zip(names, value.values(), strict=True)
            for pattern in patterns
            if re.search(pattern, name)
        )
    rest = [n for n in value if n not in stated and not any(re.search(p, str(n)) for p in patterns)]
    given = schema[key]
    return (
        not rest
        if given is False
        else given is True or all(is_valid(value[n], given, root) for n in rest)
    )
