"""A command line as a preset, for a file of one's own in `my_conf/exp`."""

from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from sip.config.command import Command
from sip.config.provenance import Recorded
from sip.core.paths import conf_folder

PRESETS = "exp"  # group


def preset(command: str) -> str:
    """Return what a command line sets, as the YAML of a preset for `+exp=NAME`.

    Args:
        command: As `Run.command` gives it: `python -m sip.generate key=value ...`.
    """
    words = [Command.for_hydra(word) for word in Recorded.of(command).overrides]
    added: list[Any] = []
    defaults: list[Any] = []  # Hydra wants these behind what is added
    values: dict[str, Any] = {}
    for override in OverridesParser.create().parse_overrides(words):
        key, value = override.key_or_group.lstrip("+"), override.value()
        if key.startswith("hydra."):  # a preset cannot say where presets are found
            continue
        if (conf_folder() / key).is_dir():
            if override.is_add():  # a preset is read by another one as its neighbour
                added.append(value if key == PRESETS else {f"/{key}": value})
            else:
                defaults.append({f"override /{key}": value})
            continue
        node = values
        *parents, name = key.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    chosen = [*added, *defaults]
    parts = [{"defaults": chosen}] if chosen else []
    text = "".join(
        yaml.safe_dump(part, sort_keys=False, allow_unicode=True, width=100)
        for part in (*parts, values)
        if part
    )
    return f"# @package _global_\n{text}"
