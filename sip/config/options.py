"""What a YAML of `conf` says: its header, its options with their comments, its choices.

Read from the text, since a parser drops comments; positions come from PyYAML's nodes. A preset
states only what differs from its base, the file that its defaults list names first: the rest is
read there.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from sip.core.paths import conf_folder

COMMENT = re.compile(r":?\s*#\s?(.*)")  # what follows a value, or the colon of a block
GLOBAL = "_global_"
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
SHARED = "_base"  # folder of files that the choices of a group share; none is a choice
MANY = 8  # entries of a block, such as words of classes, from which on it is one line


@dataclass(frozen=True)
class Option:
    """A line of a YAML.

    Attributes:
        name: Dotted key.
        default: Its value as it is written; empty where the value is a block of further options.
        comment: The text behind it; the base's if it has none.
        base: ConfigFile that states it, or `_base`; empty if the file itself does.
    """

    name: str
    default: str
    comment: str
    base: str = ""


@dataclass(frozen=True)
class ConfigFile:
    """A YAML.

    Attributes:
        name: File's name without its suffix.
        text: The whole file.
        header: The comment on top, without `# @package`.
        package: Where its options go, if it says so.
        target: Dotted name of the class that it, or its base, chooses.
        base: ConfigFile of the same folder from which it states the differences, if there is one.
        chooses: What it and its base choose in other groups: "`classifier=finetune`".
        options: Its own and its base's, in the order of the files, without `_target_`.
    """

    name: str
    text: str
    header: str
    package: str | None
    target: str | None
    base: str | None = None
    chooses: list[str] = field(default_factory=list)
    options: list[Option] = field(default_factory=list)

    def chosen(self) -> dict[str, str]:
        """Return group -> choice of `chooses`."""
        return dict(text.strip("`").split("=", 1) for text in self.chooses)

    def own(self) -> list[Option]:
        """Return the options that the file itself states."""
        return [option for option in self.options if not option.base]


@cache
def read_choice(file: Path, group: str = "") -> ConfigFile:
    """Return what a YAML in the folder `group` says."""
    text = file.read_text()
    lines = text.splitlines()
    header = []
    for line in lines:
        if not line.startswith("#"):
            break
        header.append(line.lstrip("#").strip())
    package = re.search(r"^# @package (\S+)", text, re.MULTILINE)
    values: dict[str, Any] = yaml.load(text, LOADER) or {}  # noqa: S506, a safe loader
    root = yaml.compose(text, LOADER)
    defaults = values.get("defaults", [])
    bases = [entry.partition("@")[0] for entry in defaults if isinstance(entry, str)]
    base = next((name for name in bases if name != "_self_"), None)
    inherited = read_choice(_base_file(file, base, group), group) if base else None
    is_choice = base is not None and SHARED not in (file.parent.name, Path(base).parent.name)
    is_choice = is_choice and not str(base).startswith("/")
    chosen = dict(filter(None, (_chosen(entry, group) for entry in defaults)))
    own = list(_options(root, lines)) if root is not None else []
    return ConfigFile(
        name=file.stem,
        text=text,
        header=" ".join(line for line in header if not line.startswith("@package")),
        package=package[1] if package else inherited.package if inherited else None,
        target=values.get("_target_", inherited.target if inherited else None),
        base=base if is_choice else None,
        chooses=[
            f"`{place}={choice}`"
            for place, choice in ({**inherited.chosen(), **chosen} if inherited else chosen).items()
        ],
        options=_merged(inherited, inherited.name if is_choice else SHARED, own)
        if inherited
        else own,
    )


def _base_file(file: Path, base: str, group: str) -> Path:
    """Return the file of a base: of the same group, or of another group by its absolute name."""
    own = conf_folder()
    if base.startswith("/"):
        places = [folder / f"{base.lstrip('/')}.yaml" for folder in (*file.parents, own)]
    else:
        places = [folder / f"{base}.yaml" for folder in (file.parent, own / group)]
    return next((path for path in places if path.is_file()), places[0])


def _chosen(entry: Any, group: str) -> tuple[str, str] | None:
    """Return (group, choice) of a line of a defaults list; None if it names a base or an order."""
    if isinstance(entry, str):
        return None
    ((key, choice),) = entry.items()
    name = key.removeprefix("override ").partition("@")[0]
    within = f"{group}/" if group and not name.startswith("/") else ""
    place = within + name.removeprefix("/")
    if place.partition("/")[0] == "hydra":
        return None
    choice = "null" if choice is None else choice
    return place, f"[{', '.join(choice)}]" if isinstance(choice, list) else choice


def _merged(base: ConfigFile, name: str, own: list[Option]) -> list[Option]:
    """Return a base's options with those of a preset in their place, new ones at the end."""
    options = {one.name: replace(one, base=one.base or name) for one in base.options}
    for option in own:
        for name in [name for name in options if name.startswith(f"{option.name}.")]:
            if option.default:  # a value in place of a block
                del options[name]
        above = option.name.rpartition(".")[0]
        if above in options:  # a block in place of a value
            options[above] = replace(options[above], default="")
        known = options.get(option.name)
        comment = option.comment or (known.comment if known else "")
        options[option.name] = replace(option, comment=comment)
    return list(options.values())


def _options(node: yaml.Node, lines: list[str], prefix: str = "") -> Iterator[Option]:
    """Yield the options below a node, those of inner blocks with dotted names."""
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        if name in ("_target_", "defaults", "hydra"):
            continue
        is_block = isinstance(value, yaml.CollectionNode) and not value.flow_style
        if len(value.value) >= MANY and _is_listing(value, lines):
            yield Option(name, f"{{... {len(value.value)} entries}}", _comment(lines, key.end_mark))
        elif is_block and isinstance(value, yaml.MappingNode):
            if comment := _comment(lines, key.end_mark):
                yield Option(name, "", comment)
            yield from _options(value, lines, f"{name}.")
        elif is_block or getattr(value, "style", None) in ("|", ">"):
            plain = yaml.load(yaml.serialize(value), LOADER)  # noqa: S506, a safe loader
            flow = yaml.safe_dump(plain, default_flow_style=True, width=float("inf"))
            written = plain.strip() if isinstance(plain, str) else flow.strip()
            yield Option(name, written, _comment(lines, key.end_mark))
        else:
            start, end = value.start_mark, value.end_mark
            written = " ".join(lines[start.line : end.line + 1])
            if start.line == end.line:
                written = lines[start.line][start.column : end.column]
            yield Option(name, written or "null", _comment(lines, end))


def _is_listing(node: yaml.Node, lines: list[str]) -> bool:
    """Return whether a block maps names to words, and says nothing of any one of them."""
    return isinstance(node, yaml.MappingNode) and all(
        value.tag.endswith(":str") and not _comment(lines, value.end_mark)
        for _, value in node.value
    )


def _comment(lines: list[str], mark: yaml.Mark) -> str:
    """Return the comment behind a position."""
    rest = lines[mark.line][mark.column :] if mark.line < len(lines) else ""
    found = COMMENT.fullmatch(rest)
    return found[1].strip() if found else ""
