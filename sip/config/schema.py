"""JSON Schemas of the configuration, for editors: unknown keys, wrong types, choices, texts.

Keys and their ranges are those of the component classes; where a group has no class, the keys of
its files, with their comments. A schema for every group, and one for every primary configuration.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sip.config.build import target_class
from sip.config.class_schema import Schema, class_schema, or_interpolation
from sip.config.command import OPEN
from sip.config.keys import Keys, config_files, value_of
from sip.config.options import GLOBAL, SHARED, ConfigFile, read_choice

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MAIN = "config"
RUNS = ("exp", "sweep")  # groups of files that set keys of other groups
PARAMS = "hydra.sweeper.params"
OBJECT: Schema = {"type": "object"}
TYPES = {bool: "boolean", int: "number", float: "number"}
REFERENCE = "#/$defs/"


class Schemas:
    """The schemas of configuration folders.

    Args:
        folders: SIP's own and further ones.
        classes: Top group -> class that reads its keys, of groups that choose no class.
    """

    def __init__(self, folders: Sequence[Path], classes: Mapping[str, type]) -> None:
        self.classes = classes
        self.keys = Keys()
        self.groups: dict[str, list[ConfigFile]] = {}
        self.primaries: dict[str, ConfigFile] = {}
        self.definitions: dict[str, Schema] = {}
        for group, file in config_files(folders):
            choice = read_choice(file, group)
            if not group:
                self.primaries[file.stem] = choice
                continue
            if file.parent.name != SHARED:
                self.groups.setdefault(group, []).append(choice)
            self._add(group, choice)
        self.keys.add(self.primaries[MAIN].options, "")

    def _add(self, group: str, choice: ConfigFile) -> None:
        if group in RUNS:
            return
        place = _package(group, choice)
        if choice.target:
            named = self.keys.at(place).classes.setdefault(choice.target, [])
            named.append(choice.name)
        else:
            self.keys.add(choice.options, "" if place == GLOBAL else f"{place}.")

    def files(self) -> dict[str, Schema]:
        """Return name of a group, or of a primary configuration -> its schema."""
        made = {}
        for name, choice in self.primaries.items():
            keys = Keys()
            keys.add(choice.options, "")
            own = {key: self._value(key, keys.below[key]) for key in keys.below}
            schema = self._root() if choice.chooses else _closed({})
            schema["properties"] |= own
            made[name] = self._file(f"conf/{name}.yaml", choice.header, schema, "")
        for group, choices in self.groups.items():
            places = {_package(group, choice) for choice in choices}
            kinds = [self._kind(group, place) for place in sorted(places)]
            classes = {
                target: [c.name for c in choices if c.target == target]
                for target in dict.fromkeys(c.target for c in choices if c.target)
            }
            if classes:
                kinds = [self._choice(group.replace("/", "."), classes)]
            schema = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
            made[group] = self._file(f"conf/{group}/*.yaml", f"A choice of {group}.", schema, group)
        return made

    def _kind(self, group: str, place: str) -> Schema:
        """Return the schema of a group's file whose keys stand at `place`."""
        if place == GLOBAL:
            return self._root()
        return self._params() if place == PARAMS else self._value(place, self.keys.at(place))

    def _file(self, title: str, description: str, schema: Schema, group: str) -> Schema:
        whole = {"allOf": [schema, {"properties": {"defaults": self._defaults(group)}}]}
        return {
            "$schema": DIALECT,
            "title": title,
            "description": description,
            **whole,
            "$defs": self._needed(whole),
        }

    def _needed(self, schema: Any) -> dict[str, Schema]:
        """Return the definitions that a schema refers to, directly or not."""
        found: dict[str, Schema] = {}
        waiting = [schema]
        while waiting:
            for name in _references(waiting.pop()):
                if name not in found:
                    found[name] = self.definitions[name]
                    waiting.append(found[name])
        return dict(sorted(found.items()))

    def _root(self) -> Schema:
        """Return the schema of a file that may set any key."""
        values = {key: self._value(key, below) for key, below in self.keys.below.items()}
        return _closed(values)

    def _value(self, place: str, keys: Keys) -> Schema:
        """Return the schema of the value of a key."""
        if keys.classes:
            return or_interpolation(self._once(place, lambda: self._choice(place, keys.classes)))
        comment = next((option.comment for option in keys.stated if option.comment), "")
        schema = self._plain(place, keys)
        return or_interpolation(schema | ({"description": comment} if comment else {}))

    def _plain(self, place: str, keys: Keys) -> Schema:
        """Return the schema of a value that no class declares, from the values in the files."""
        values = [value_of(option) for option in keys.stated]
        if place.rpartition(".")[2] in OPEN or not (keys.below or values):
            return {}
        kinds = {TYPES.get(type(value), "") for value in values if value != ""}
        comments = " ".join(option.comment for option in keys.stated)
        if keys.below:
            properties = {k: self._value(f"{place}.{k}", v) for k, v in keys.below.items()}
            if kind := self.classes.get(place):
                properties |= self._properties(self._class(kind, place))
            if place.replace(".", "/") in self.groups:
                properties["defaults"] = {}
            inner = OBJECT | {"properties": properties, "additionalProperties": False}
            return {"anyOf": [inner, {"type": "null"}]} if None in values else inner
        if all(isinstance(value, dict) for value in values):
            return OBJECT
        if len(kinds) == 1 and "" not in kinds and not re.search(r" \| |auto|null", comments):
            return {"type": kinds.pop()}
        return {}

    def _choice(self, place: str, classes: dict[str, list[str]]) -> Schema:
        """Return the schema of a place where one of several classes is chosen.

        A class is known by `_target_`, else by the base in the defaults list; a part of the
        configuration without either may have the keys of any of the classes.
        """
        properties: dict[str, list[Schema]] = {"_target_": [{"enum": list(classes)}]}
        rules = []
        for target, names in classes.items():
            schema = self._class(target_class(target), place)
            for key, value in self._properties(schema).items():
                values = properties.setdefault(key, [])
                if value and value not in values:
                    values.append(value)
            based = {"contains": {"enum": [each for n in names for each in (n, f"{n}@_here_")]}}
            either = [
                {"required": ["_target_"], "properties": {"_target_": {"const": target}}},
                {
                    "required": ["defaults"],
                    "properties": {"defaults": based, "_target_": {"const": target}},
                },
            ]
            rules.append({"if": {"anyOf": either}, "then": schema})
        merged = {
            key: values[0] if len(values) == 1 else {"anyOf": values} if values else {}
            for key, values in properties.items()
        }
        return {
            "type": "object",
            "properties": merged,
            "additionalProperties": False,
            "allOf": rules,
        }

    def _class(self, kind: type, place: str) -> Schema:
        def made() -> Schema:
            inner = self.keys.at(place).below
            chosen = {key: below for key, below in inner.items() if below.classes}
            parts = {key: self._value(f"{place}.{key}", below) for key, below in chosen.items()}
            schema, further = class_schema(kind, parts)
            self.definitions |= further
            return schema

        return self._once(f"{kind.__module__}.{kind.__qualname__}", made)

    def _properties(self, reference: Schema) -> Schema:
        return self.definitions[reference["$ref"].removeprefix(REFERENCE)]["properties"]

    def _once(self, name: str, made: Callable[[], Schema]) -> Schema:
        if name not in self.definitions:
            self.definitions[name] = {}
            self.definitions[name] = made()
        return {"$ref": f"{REFERENCE}{name}"}

    def _params(self) -> Schema:
        """Return the schema of the parameters of a sweep: dotted keys and groups."""
        closed, opened = {*self.groups}, set()
        for name in self._dotted(self._root(), ""):
            closed.add(name)
            if name.rpartition(".")[2] in OPEN:
                opened.add(name)
        return _closed({name: {} for name in sorted(closed)}) | {
            "patternProperties": {f"^{re.escape(name)}\\.": {} for name in sorted(opened)},
        }

    def _dotted(self, schema: Schema, prefix: str) -> Iterator[str]:
        """Yield every dotted key of a schema."""
        if "$ref" in schema:
            schema = self.definitions[schema["$ref"].removeprefix(REFERENCE)]
        for key, value in schema.get("properties", {}).items():
            if key not in ("_target_", "hydra") and isinstance(value, dict):
                yield f"{prefix}{key}"
                yield from self._dotted(value, f"{prefix}{key}.")
        for inner in schema.get("anyOf", ()):
            yield from self._dotted(inner, prefix)

    def _defaults(self, group: str) -> Schema:
        """Return the schema of a defaults list: bases of the same group, choices of others."""
        own = self.primaries if not group else [choice.name for choice in self.groups[group]]
        pairs = {}
        for name, choices in self.groups.items():
            names: Schema = {"enum": [choice.name for choice in choices]}
            value = {
                "anyOf": [names, {"type": ["null", "object"]}, {"type": "array", "items": names}]
            }
            inner = f"|{re.escape(name.removeprefix(f'{group}/'))}" if group else "|" + name
            pairs[f"^((optional|override) )?(/{name}{inner})(@.+)?$"] = or_interpolation(value)
        mapping = OBJECT | {
            "patternProperties": pairs
            | {r"^((optional|override) )?/?(hydra/|hydra$|job_|hydra_)": {}},
            "additionalProperties": False,
        }
        base = {"anyOf": [{"enum": ["_self_", *own]}, {"pattern": "[/@]"}]}
        return {"type": "array", "items": {"anyOf": [{"type": "string"} | base, mapping]}}


def _closed(properties: Schema) -> Schema:
    """Return the schema of a file that may set these keys, and Hydra's own."""
    known = properties | {"defaults": {}, "hydra": OBJECT}
    return OBJECT | {"properties": known, "additionalProperties": False}


def _package(group: str, choice: ConfigFile) -> str:
    return choice.package or group.replace("/", ".")


def _references(schema: Any) -> Iterator[str]:
    """Yield the names of the definitions in a schema."""
    if isinstance(schema, dict):
        if isinstance(name := schema.get("$ref"), str):
            yield name.removeprefix(REFERENCE)
        schema = list(schema.values())
    for inner in schema if isinstance(schema, list) else ():
        yield from _references(inner)
