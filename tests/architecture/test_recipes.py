"""Recipes are keys: they are pinned, and no configured value can be left out of one.

`python -m tests.architecture.test_recipes` writes the golden file. It may change only together
with a `version` or a new field, and a line in the changelog: every changed line is a store that
is made again.
"""

import dataclasses
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import get_class

from sip.captions.column import ColumnCaptions
from sip.config.build import build
from sip.core.errors import UserError
from sip.dataset.reader import Reader
from sip.filter.review import Review
from sip.prompts.table import PromptTable
from tests.architecture.choices import CONF, PROFILES, TOGETHER, nodes, recipe_lines

GOLDEN = Path(__file__).with_name("recipes.jsonl")
TARGET = re.compile(r"^ *_target_: ([\w.]+)", re.MULTILINE)
# Values that count, or are possible, only next to others: "stage key" -> those.
NEXT_TO: dict[str, dict[str, Any]] = {
    "captions sampling": {"top_p": 0.9, "num_beams": 1, "num_captions": 1},
    "captions num_captions": {"temperature": 0.5},
    "captions num_beams": {"sampling": "beam", "top_p": None, "num_beams": 9},
    "backbone patch_size": {
        "name": "vit_tiny_patch16_224",
        "weights": None,
        "revision": None,
        "patch_size": 8,
    },
    "images aspect_step": {"aspect": "keep", "aspect_step": 8},
    "classifier epochs": {"budget": "epochs", "epochs": 3},
    "backbone name": {"name": "resnet50", "weights": None, "revision": None},
    "backbone stem": {"name": "resnet50", "weights": None, "revision": None, "stem": "3x3_s1"},
    "dataset fraction": {"shots": None, "fraction": 0.5},
    "dataset imbalance": {"shots": None, "imbalance": 8},
    "dataset test_fraction": {"test_fraction": 0.2, "train_per_class": None},
    "dataset train_part": {"pretrain_fraction": 0.5},
    "dataset seed": {"shots": 5},
    "filter threshold": {"keep": None, "threshold": 0.25},
    "prompts cosines": {"scaling": "quantile", "cosines": [0.1, 0.2]},
    "prompts vary_captions": {"template": "{label}, {caption}"},
    "images max_per_sample": {"balance": True},
    "images lora": {
        "lora": {"model": "a/b", "revision": "1", "weight_name": "c.safetensors", "scale": 1.0}
    },
}
# No other value is possible by itself: a budget in epochs needs `epochs`, one in steps refuses it.
# A noise rate by itself is not the first of several.
PAIRED = {
    "sip.classifier.recipe.Recipe": {"budget"},
    "sip.prompts.sip_adaptive.SipAdaptive": {"noise_rate"},
    "sip.prompts.diff_mix_like.DiffMixLike": {"noise_rate"},
    "sip.prompts.several_rates.SeveralRates": {"noise_rate"},
}
WORDS = (
    *("nucleus", "beam", "int8", "float32", "bfloat16", "ddim", "euler", "png", "jpeg", "raw"),
    *("clipscore", "adamw", "sgd", "steps", "epochs", "32-true", "bf16-mixed", "files"),
    *(
        "webdataset",
        "replace",
        "concat",
        "svhn",
        "pretrain",
        "train",
        "nearest",
        "3x3_s1",
        "3x3_s2",
    ),
    *("{label} again", "true_cfg_scale", "resnet18", "skip", "trailing", "keep"),
    *("white", "black", "balanced", "<CAPTION>", "<DETAILED_CAPTION>"),
    *("OPENAI_API_KEY", "low", "drop", "linear", "a {label}"),
)
INSTEAD_OF_NONE = (1, 0.5, True, "main", "sip/miniature/vit", [0.5, 0.5, 0.5], ["a"], {"a": "b"})


def test_recipes_are_those_of_the_golden_file() -> None:
    golden = dict(line.split("\t") for line in GOLDEN.read_text().splitlines())
    now = dict(recipe_lines())
    changed = [name for name, recipe in now.items() if golden.get(name, recipe) != recipe]
    assert not changed, f"the keys of {changed} changed: raise a version, or undo it"
    assert list(now) == list(golden), "choices were added or removed: write the golden file again"


def others(value: Any) -> Iterator[Any]:
    """Yield values that differ from one of a YAML; some of them are in its range."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, value - 1, value * 2, max(1, value // 2), value + 32, 0, 5)
    elif isinstance(value, float):
        yield from (value / 2, value + 0.125, value - 0.125, value + 1, 0.0, 0.5, 2.0)
    elif isinstance(value, str):
        yield from (f"{value}2", f"{value} 2", *WORDS, None)
    elif isinstance(value, list):
        yield from ([other, *value[1:]] for first in value[:1] for other in others(first))
        yield from (value[:-1], value[::-1], [*value, *value[-1:]], ["test"], [0.25, 0.5], [1])
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from ({**value, name: other} for other in others(inner))
        yield {"zebra": "striped horse"}
    else:
        yield from (*INSTEAD_OF_NONE, *WORDS)


def targets(node: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield (place, node) of each component in a node."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield place, node
        for key, value in node.items():
            yield from targets(value, (*place, key))


def written() -> list[str]:
    """Return the classes that the files of the stages name; to compose them all takes long."""
    stages = {group.split("/")[0] for row in TOGETHER for group in row}
    files = [file for stage in sorted(stages) for file in (CONF / stage).rglob("*.yaml")]
    return sorted({name for file in files for name in TARGET.findall(file.read_text())})


@cache
def distinct() -> dict[str, tuple[dict[str, Any], tuple[str, ...]]]:
    """Return class path -> a node with it, and the place of it in the node: one of each class."""
    found: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {}
    for profile in reversed(PROFILES):  # models by hub name, so that a revision counts
        parts = [(p, inner, node) for node in nodes(profile).values() for p, inner in targets(node)]
        for place, inner, node in sorted(parts, key=lambda part: len(part[0])):
            found.setdefault(inner["_target_"], (node, place))
    return found


def replaced(node: Any, place: tuple[str, ...], value: Any) -> Any:
    """Return a copy of a node with another value at a place."""
    if not place:
        return value
    return {**node, place[0]: replaced(node[place[0]], place[1:], value)}


def recipe_of(node: dict[str, Any]) -> str:
    """Return the recipe of what a node builds, as JSON."""
    return json.dumps(build(node).recipe(), sort_keys=True)


def changes(node: dict[str, Any], place: tuple[str, ...], value: Any) -> set[str]:
    """Return the recipes of a node with up to three other values at a place."""
    recipes: list[str] = []
    for other in others(value):
        if other == value or len(recipes) == 3:
            continue
        try:
            recipes.append(recipe_of(replaced(node, place, other)))
        except (UserError, TypeError, ValueError, OSError, RuntimeError, AttributeError):
            continue
    return set(recipes)


def is_ignored(kind: type, key: str) -> bool:
    """Return whether a field is marked as one that cannot change a result."""
    fields = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
    return any(field.name == key and "ignored" in field.metadata for field in fields)


def test_the_files_name_what_is_composed() -> None:
    assert written() == sorted(distinct())


@pytest.mark.parametrize("target", written())
def test_every_configured_value_is_in_the_recipe(
    target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = property(lambda reader: getattr(reader, "path", reader.root))  # it needs no files
    monkeypatch.setattr(Reader, "content", content)
    monkeypatch.setattr(PromptTable, "content", property(lambda table: table.file))
    monkeypatch.setattr(ColumnCaptions, "content", property(lambda captions: captions.column))
    monkeypatch.setattr(Review, "content", property(lambda review: review.file))
    node, place = distinct()[target]
    inner: Any = node
    for name in place:
        inner = inner[name]
    wrong = {}
    for key, value in inner.items():
        nested = isinstance(value, dict) and "_target_" in value
        if key == "_target_" or nested or key in PAIRED.get(target, ()):
            continue
        others_too = NEXT_TO.get(f"{target.split('.')[1]} {key}", {})
        given = inner | {name: other for name, other in others_too.items() if name in inner}
        base = replaced(node, place, given)
        before, after = recipe_of(base), changes(base, (*place, key), given[key])
        if not after:
            wrong[key] = "no other value could be built: see NEXT_TO and WORDS"
        elif is_ignored(get_class(target), key):
            if after != {before}:
                wrong[key] = "is ignored() and changes the recipe"
        elif after == {before}:
            wrong[key] = "changes no recipe and is not ignored()"
    assert not wrong, f"{target}: {wrong}"


if __name__ == "__main__":
    GOLDEN.write_text("".join(f"{name}\t{recipe}\n" for name, recipe in recipe_lines()))
