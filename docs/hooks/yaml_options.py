"""What a YAML of `conf` says: its header, its options with the comment beside each, its choices.

Read from the text, since a parser throws comments away; positions come from PyYAML's nodes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

BESIDE = re.compile(r":?\s*#\s?(.*)")  # what follows a value, or the colon of a block
GLOBAL = "_global_"
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MANY = 8  # entries of a block, such as words of classes, from which on it is one line


@dataclass(frozen=True)
class Option:
    """A line of a YAML.

    Attributes:
        name: Dotted key.
        default: Its value as it is written; empty where the value is a block of further options.
        comment: What stands beside it.
    """

    name: str
    default: str
    comment: str


@dataclass(frozen=True)
class Choice:
    """A YAML.

    Attributes:
        name: Of the file, without its suffix.
        text: All of it.
        header: The comment on top, without `# @package`.
        package: Where its options go, if it says so.
        target: Dotted name of the class that it chooses.
        chooses: What its defaults list names: "classifier=finetune", "as `noise_rate`".
        options: In the file's order, without `_target_`.
    """

    name: str
    text: str
    header: str
    package: str | None
    target: str | None
    chooses: list[str] = field(default_factory=list)
    options: list[Option] = field(default_factory=list)


@cache
def read_choice(file: Path, group: str = "") -> Choice:
    """Return what a YAML in the folder `group` says."""
    text = file.read_text()
    lines = text.splitlines()
    header = []
    for line in lines:
        if not line.startswith("#"):
            break
        header.append(line.lstrip("#").strip())
    package = re.search(r"^# @package (\S+)", text, re.MULTILINE)
    values: dict[str, Any] = yaml.load(text, LOADER) or {}
    root = yaml.compose(text, LOADER)
    return Choice(
        name=file.stem,
        text=text,
        header=" ".join(line for line in header if not line.startswith("@package")),
        package=package[1] if package else None,
        target=values.get("_target_"),
        chooses=[said for entry in values.get("defaults", []) if (said := _chosen(entry, group))],
        options=list(_options(root, lines)) if root is not None else [],
    )


def _chosen(entry: Any, group: str) -> str | None:
    """Return a line of a defaults list as one types it; None where it only says the order."""
    if isinstance(entry, str):
        return None if entry == "_self_" else f"as `{entry}`"
    ((key, choice),) = entry.items()
    name = key.removeprefix("override ").partition("@")[0]
    within = f"{group}/" if group and not name.startswith("/") else ""
    place = within + name.removeprefix("/")
    if place.startswith("hydra/"):
        return None
    choice = "null" if choice is None else choice
    return f"`{place}=[{', '.join(choice)}]`" if isinstance(choice, list) else f"`{place}={choice}`"


def _options(node: yaml.Node, lines: list[str], prefix: str = "") -> Iterator[Option]:
    """Yield the options below a node, those of inner blocks with dotted names."""
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        if name in ("_target_", "defaults", "hydra"):
            continue
        is_block = isinstance(value, yaml.CollectionNode) and not value.flow_style
        if is_block and len(value.value) >= MANY and _is_listing(value, lines):
            yield Option(name, f"{{... {len(value.value)} entries}}", _beside(lines, key.end_mark))
        elif is_block and isinstance(value, yaml.MappingNode):
            if comment := _beside(lines, key.end_mark):
                yield Option(name, "", comment)
            yield from _options(value, lines, f"{name}.")
        elif is_block or getattr(value, "style", None) in ("|", ">"):
            plain = yaml.load(yaml.serialize(value), LOADER)
            flow = yaml.safe_dump(plain, default_flow_style=True, width=float("inf"))
            written = plain.strip() if isinstance(plain, str) else flow.strip()
            yield Option(name, written, _beside(lines, key.end_mark))
        else:
            start, end = value.start_mark, value.end_mark
            written = " ".join(lines[start.line : end.line + 1])
            if start.line == end.line:
                written = lines[start.line][start.column : end.column]
            yield Option(name, written or "null", _beside(lines, end))


def _is_listing(node: yaml.Node, lines: list[str]) -> bool:
    """Return whether a block maps names to words, and says nothing of any one of them."""
    return isinstance(node, yaml.MappingNode) and all(
        value.tag.endswith(":str") and not _beside(lines, value.end_mark) for _, value in node.value
    )


def _beside(lines: list[str], mark: yaml.Mark) -> str:
    """Return the comment behind a position."""
    rest = lines[mark.line][mark.column :] if mark.line < len(lines) else ""
    found = BESIDE.fullmatch(rest)
    return found[1].strip() if found else ""
