"""YAML of other people: read without tags of Python, and only where it is as small as it looks.

A few lines can stand for billions of values: an alias (`*name`) repeats what its anchor (`&name`)
holds, and that may hold aliases. OmegaConf would write them all out. And libyaml calls itself for
each level of brackets, until the process dies.
"""

from pathlib import Path
from typing import Any

import yaml

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, many times as fast
STARTS = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
ENDS = (yaml.MappingEndEvent, yaml.SequenceEndEvent)
MAX_BYTES = 2**23  # of a file
MAX_LEVELS = 100
MAX_VALUES = 200_000  # once written out


def read_yaml(file: Path) -> Any:
    """Return what a file holds, in plain types.

    Raises:
        OSError: It is not there.
        ValueError: It is no YAML, or too long, too deep, or stands for too many values.
    """
    if file.stat().st_size > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES} bytes")
    text = file.read_bytes()
    try:
        _check_levels(text)
        loader = LOADER(text)
        node = loader.get_single_node()
        if node is not None and _written_out(node, {}) > MAX_VALUES:
            raise ValueError(f"its aliases stand for more than {MAX_VALUES} values")
        return None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, RecursionError, TypeError) as error:  # TypeError: a list as a key
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _check_levels(text: bytes) -> None:
    """Count the levels by the parser's events alone, which it makes without calling itself."""
    loader, level = LOADER(text), 0
    too_deep = ValueError(f"more than {MAX_LEVELS} levels")
    try:
        while loader.check_event():
            event = loader.get_event()
            level += isinstance(event, STARTS) - isinstance(event, ENDS)
            if level > MAX_LEVELS:
                raise too_deep
    except yaml.YAMLError as error:
        if "maximum nesting depth" in str(error):  # some libyaml read ahead, with a limit of theirs
            raise too_deep from error
        raise


def _written_out(node: Any, known: dict[int, float]) -> float:
    """Return how many values a node stands for; infinite where it holds itself."""
    if not isinstance(node.value, list):
        return 1
    if id(node) not in known:
        known[id(node)] = float("inf")  # until it is known: one that holds itself
        inner = [one for pair in node.value for one in (pair if type(pair) is tuple else (pair,))]
        known[id(node)] = 1 + sum(_written_out(one, known) for one in inner)
    return known[id(node)]
