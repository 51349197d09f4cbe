"""conf against code: every YAML of a room fits its class, every implementation has a YAML."""

import importlib
import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

ROOT = Path(__file__).parents[2]
CONF, PACKAGE = ROOT / "conf", ROOT / "sip"
HYDRA_KEYS = {"_target_", "_convert_", "_partial_", "_recursive_", "_args_"}


def room_files() -> list[str]:
    """Return the YAMLs whose folder has a package of the same place, e.g. "prompts/guidance/x"."""
    files = (path.relative_to(CONF).with_suffix("") for path in CONF.rglob("*.yaml"))
    rooms = [path for path in files if len(path.parts) > 1 and (PACKAGE / path.parent).is_dir()]
    return sorted(path.as_posix() for path in rooms)


def implementation_files() -> list[str]:
    """Return the files of the rooms' packages that may hold implementations."""
    rooms = {Path(name).parts[0] for name in room_files()}
    files = (path for room in rooms for path in (PACKAGE / room).rglob("*.py"))
    kept = (path for path in files if path.name not in ("__init__.py", "base.py"))
    return sorted(path.relative_to(ROOT).as_posix() for path in kept)


@cache
def node_of(name: str) -> Any:
    """Return what `config.yaml` with this choice holds in the choice's place, unresolved."""
    group, choice = name.rsplit("/", 1)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        try:
            config = compose("config", [f"{group}={choice}"])
        except ConfigCompositionException as error:
            if "Could not override" not in str(error):  # else: a group that no default names
                raise
            config = compose("config", [f"+{group}={choice}"])
    node = OmegaConf.select(config, group.replace("/", "."))
    # A group of which several are chosen, such as metrics, holds each under its own name.
    alone = isinstance(node, DictConfig) and "_target_" not in node and list(node) == [choice]
    return node[choice] if alone else node


def targets(node: Any) -> Iterator[str]:
    """Yield every `_target_` of a node, at any depth."""
    values = OmegaConf.to_container(node, resolve=False) if isinstance(node, DictConfig) else node
    if isinstance(values, dict):
        if "_target_" in values:
            yield values["_target_"]
        values = list(values.values())
    for value in values if isinstance(values, list) else []:
        yield from targets(value)


def target_of(name: str) -> str | None:
    """Return the `_target_` that a YAML chooses; None if it only gathers other choices."""
    node = node_of(name)
    return node.get("_target_") if isinstance(node, DictConfig) else None


@pytest.mark.parametrize("name", room_files())
def test_yaml_points_into_its_own_room(name: str) -> None:
    target = target_of(name)
    if target is not None:
        package = ".".join(["sip", *Path(name).parts[:-1]])
        assert target.startswith(f"{package}."), f"conf/{name}.yaml points to {target}"
        assert inspect.isclass(get_class(target))


@pytest.mark.parametrize("name", room_files())
def test_yaml_names_exactly_the_constructors_arguments(name: str) -> None:
    target = target_of(name)
    if target is None:
        return
    parameters = inspect.signature(get_class(target)).parameters
    kinds = {parameter.kind for parameter in parameters.values()}
    assert kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    stated = {str(key) for key in node_of(name)} - HYDRA_KEYS
    assert stated - set(parameters) == set(), f"conf/{name}.yaml names unknown arguments"
    assert set(parameters) - stated == set(), f"conf/{name}.yaml leaves arguments out"
    defaults = [key for key, value in parameters.items() if value.default is not value.empty]
    assert defaults == [], f"{target} has values that no YAML needs to state"


@cache
def chosen_classes() -> frozenset[type]:
    """Return the classes that YAMLs choose, with the room's classes that they are built on."""
    names = {target for name in room_files() for target in targets(node_of(name))}
    return frozenset(base for name in names for base in get_class(name).__mro__)


@pytest.mark.parametrize("file", implementation_files())
def test_every_implementation_is_chosen_by_a_yaml(file: str) -> None:
    module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    found = {
        value
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__ and name[0] != "_"
        if callable(getattr(value, "recipe", None))
    }
    assert found - chosen_classes() == set(), "implementations that no YAML chooses"
