"""conf against code: every YAML of a stage fits its class, every implementation has a YAML."""

import importlib
import inspect
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra.errors import ConfigCompositionException
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from tests.architecture.choices import CONF, ROOT, choices
from tests.composing import composed

PACKAGE = ROOT / "sip"
VALUES = {
    "Lora",
    "Autoencoder",
    "ControlWeights",
}  # built from a value in a choice, such as images.lora

# Groups whose package has another name; of the first, the same transforms.
ELSEWHERE = {"augmentation/base": "augmentation/sample", "images/condition": "images/conditions"}


def groups() -> list[str]:
    """Return the groups with a package or module of the same place, e.g. "prompts/guidance"."""
    names = {file.parent.relative_to(CONF).as_posix() for file in CONF.rglob("*/*.yaml")}
    places = {name: PACKAGE / ELSEWHERE.get(name, name) for name in sorted(names)}
    return [
        name
        for name, place in places.items()
        if place.is_dir() or place.with_suffix(".py").is_file()
    ]


@cache
def node_of(group: str, choice: str) -> Any:
    """Return what a choice puts into its group's place, unresolved.

    A choice is composed by itself, which is fast; one that overrides other groups needs them all.
    """
    try:
        config = composed(name=f"{group}/{choice}")
    except ConfigCompositionException as error:
        if "Could not override" not in str(error):
            raise
        config = composed(f"{group}={choice}")
    node = OmegaConf.select(config, group.replace("/", "."))
    # A group of which several are chosen, such as metrics, holds each under its own name.
    is_alone = isinstance(node, DictConfig) and "_target_" not in node and list(node) == [choice]
    return node[choice] if is_alone else node


def targets(node: Any) -> Iterator[str]:
    """Yield every `_target_` of a node, at any depth."""
    values = OmegaConf.to_container(node, resolve=False) if isinstance(node, DictConfig) else node
    if isinstance(values, dict):
        if "_target_" in values:
            yield values["_target_"]
        values = list(values.values())
    for value in values if isinstance(values, list) else []:
        yield from targets(value)


def nodes_with_targets(group: str) -> Iterator[tuple[str, DictConfig]]:
    """Yield (name, node) of the choices of a group that choose a class."""
    for choice in choices(group):
        node = node_of(group, choice)
        if isinstance(node, DictConfig) and "_target_" in node:
            yield f"conf/{group}/{choice}.yaml", node


@pytest.mark.parametrize("group", groups())
def test_choices_point_into_their_own_stage(group: str) -> None:
    for name, node in nodes_with_targets(group):
        package = ".".join(["sip", *Path(ELSEWHERE.get(group, group)).parts])
        assert node._target_.startswith(f"{package}."), f"{name} points to {node._target_}"
        assert inspect.isclass(get_class(node._target_))


@pytest.mark.parametrize("group", groups())
def test_choices_name_exactly_the_constructors_arguments(group: str) -> None:
    for name, node in nodes_with_targets(group):
        parameters = inspect.signature(get_class(node._target_)).parameters
        kinds = {parameter.kind for parameter in parameters.values()}
        assert kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
        stated = {str(key) for key in node} - {"_target_"}
        assert stated - set(parameters) == set(), f"{name} names unknown arguments"
        assert set(parameters) - stated == set(), f"{name} leaves arguments out"
        newer = {key.name for key in fields(get_class(node._target_)) if key.kw_only is True}
        defaults = [
            key
            for key, value in parameters.items()
            if value.default is not value.empty and key not in newer
        ]
        assert defaults == [], f"{node._target_} has values that no YAML needs to state"


def test_every_implementation_is_chosen_by_a_yaml() -> None:
    nodes = [node_of(group, choice) for group in groups() for choice in choices(group)]
    names = {target for node in nodes for target in targets(node)}
    chosen = {base for name in names for base in get_class(name).__mro__}  # and what it builds on
    for stage in sorted({group.partition("/")[0] for group in groups()}):
        for file in sorted((PACKAGE / stage).rglob("*.py")):
            if file.name in ("__init__.py", "base.py"):
                continue
            name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            found = {
                value
                for key, value in vars(importlib.import_module(name)).items()
                if inspect.isclass(value) and value.__module__ == name and key not in VALUES
                if callable(getattr(value, "recipe", None))
                and not getattr(value, "_is_protocol", False)
            }
            assert found - chosen == set(), f"{name}: implementations that no YAML chooses"
