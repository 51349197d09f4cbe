"""The keys that configuration files state, as a tree: for groups that no class declares."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sip.config.options import SHARED, Option


@dataclass
class Keys:
    """A key of the configuration with the keys below it.

    Attributes:
        below: Key -> what is there.
        stated: The lines of YAML files that state it.
        classes: Class of a choice -> names of the choices.
    """

    below: "defaultdict[str, Keys]" = field(default_factory=lambda: defaultdict(Keys))
    stated: list[Option] = field(default_factory=list)
    classes: dict[str, list[str]] = field(default_factory=dict)

    def at(self, name: str) -> "Keys":
        """Return the place of a dotted key."""
        place = self
        for part in name.split("."):
            place = place.below[part]
        return place

    def add(self, options: Sequence[Option], prefix: str) -> None:
        """Add the lines of a file, whose keys stand below `prefix`."""
        for option in options:
            self.at(f"{prefix}{option.name}").state(option)

    def state(self, option: Option) -> None:
        """Add a line; a mapping in one line, too, has keys."""
        value = value_of(option)
        if isinstance(value, dict) and value:
            for key in value:
                self.below[str(key)].stated.append(Option(str(key), "???", ""))
        else:
            self.stated.append(option)


def value_of(option: Option) -> Any:
    """Return the value that a line states; "" if it is not known by itself."""
    if option.default.startswith("{..."):
        return {}
    try:
        value = yaml.safe_load(option.default) if option.default else ""
    except yaml.YAMLError:  # a text over several lines
        return option.default
    return "" if isinstance(value, str) and value.startswith(("${", "???")) else value


def config_files(folders: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Yield (group, file) of every file; the group of a primary configuration is ""."""
    for folder in folders:
        for file in sorted(folder.rglob("*.yaml")):
            group = file.relative_to(folder).parent.as_posix().strip(".")
            if not group.startswith("hydra"):
                yield group.removesuffix(f"/{SHARED}"), file
