"""Hydra as it is, in 60 % of the time: what composing repeats is done once a process.

A user composes once; the suite a thousand times. The results are the same: tests/test_composing.py.
"""

import copy
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hydra._internal import config_repository, defaults_list
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins

READ: dict[tuple[Any, ...], bytes] = {}


def install() -> None:
    """Keep what was read from YAML files, and leave out tables that nothing looks into."""
    Plugins.instance()  # registers the sources
    for scheme in ("file", "pkg"):
        source = SourcesRegistry.instance().resolve(scheme)
        source.load_config = reading_once(source.load_config)  # type: ignore[method-assign]
    # A composition has a repository of its own, whose list of sources is replaced, never changed.
    config_repository.copy = SimpleNamespace(deepcopy=copy.copy)
    defaults_list._create_interpolation_map = where_needed(defaults_list._create_interpolation_map)


def reading_once(load: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    """Return `ConfigSource.load_config` that parses a file again only after it changed."""

    def load_config(source: Any, config_path: str) -> Any:
        file = Path(source.path, source._normalize_file_name(config_path))
        state = file.stat() if file.is_file() else None
        if source.scheme() == "file" and state is None:
            return load(source, config_path)
        changed = state and (state.st_mtime_ns, state.st_size, state.st_ino)
        key = (source.provider, source.path, config_path, changed)
        if key not in READ:
            READ[key] = pickle.dumps(load(source, config_path))
        return pickle.loads(READ[key])

    return load_config


def where_needed(create: Callable[..., Any]) -> Callable[..., Any]:
    """Return what maps choices for the interpolations of a defaults list, if there are any."""

    def create_map(overrides: Any, entries: Sequence[Any], self_added: bool) -> Any:
        if any(entry.is_interpolation() for entry in entries):
            return create(overrides, entries, self_added)
        return None

    return create_map
