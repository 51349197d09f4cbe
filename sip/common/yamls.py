"""YAML of other people: read without tags of Python, and only where it is as small as it looks.

A few lines can stand for billions of values: an alias (`*name`) repeats what its anchor (`&name`)
holds, and that may hold aliases. OmegaConf would write them all out.
"""

from pathlib import Path
from typing import Any

import yaml

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, many times as fast
MAX_BYTES = 2**23  # of a file
MAX_VALUES = 200_000  # once written out


def read_yaml(file: Path) -> Any:
    """Return what a file holds, in plain types.

    Raises:
        OSError: It is not there.
        ValueError: It is no YAML, too long, or stands for too many values.
    """
    if file.stat().st_size > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES} bytes")
    loader = LOADER(file.read_bytes())
    try:
        node = loader.get_single_node()
        if node is not None and _written_out(node, {}) > MAX_VALUES:
            raise ValueError(f"its aliases stand for more than {MAX_VALUES} values")
        return None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, RecursionError, TypeError) as error:  # TypeError: a list as a key
        raise ValueError(f"{type(error).__name__}: {error}") from error
    finally:
        loader.dispose()


def _written_out(node: Any, known: dict[int, float]) -> float:
    """Return how many values a node stands for; infinite where it holds itself."""
    if not isinstance(node.value, list):
        return 1
    if id(node) not in known:
        known[id(node)] = float("inf")  # until it is known: one that holds itself
        inner = [one for pair in node.value for one in (pair if type(pair) is tuple else (pair,))]
        known[id(node)] = 1 + sum(_written_out(one, known) for one in inner)
    return known[id(node)]
