"""What the folder of a stack says of its weights; `sip.stack` writes it."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sip.core.hashing import digest
from sip.weights.source import resolve

MADE_FROM, CARD = "stack.json", "README.md"  # in the folder of a stack
LEARNT = "learnt.txt"  # content hashes of its training images, a line each


def name_of_pool(images: Iterable[tuple[str, int]], labelled: bool) -> str:
    """Return the number of a stack's training images with a hash of them: "40,000 (a445c3a0)".

    Args:
        images: Content hash and label of each, in any order.
        labelled: Whether the stack was told the labels.
    """
    seen = sorted([sha256, label * labelled] for sha256, label in images)
    return f"{len(seen):,} ({digest(seen)[:8]})"


def stack_remarks(models: Iterable[str]) -> list[str]:
    """Return a line for each stack that is a trial or was not measured.

    Args:
        models: Folders of weights; one is of a stack if the folder above it says what it is made
            from.
    """
    remarks = []
    for folder, made_from in _stacks(models):
        scale = made_from.get("scale", 1)
        reasons = (
            [f"a trial with scale={scale:g}"]
            if isinstance(scale, int | float) and scale < 1
            else []
        )
        if not (folder / CARD).is_file():
            reasons.append("no model card: its quality is not measured")
        if reasons:
            remarks.append(f"stack {folder.name}: {'; '.join(reasons)}")
    return remarks


def pool_remarks(models: Iterable[str], pool: Iterable[tuple[str, int]]) -> list[str]:
    """Return a line for each stack that learnt from other images than a data set's `pretrain`.

    Then what the data set keeps apart from the generator may be what the generator has seen. Those
    that list what they learnt are left out: `learnt_by_stacks` knows exactly.

    Args:
        models: As in `stack_remarks`.
        pool: Content hash and label of each image of the part.
    """
    images, remarks = list(pool), []
    for folder, made_from in _stacks(models):
        learnt = made_from.get("images")
        is_listed = (folder / LEARNT).is_file()
        if is_listed or made_from.get("part") != "pretrain" or not isinstance(learnt, str):
            continue
        if learnt != (own := name_of_pool(images, bool(made_from.get("labels")))):
            remarks.append(
                f"stack {folder.name} learnt from {learnt} images, and the data set's part "
                f"pretrain has {own}: it may have seen images of train and val, or other copies "
                "of the same ones; train it on this part, or use the copy that it was trained on"
            )
    return remarks


def learnt_by_stacks(models: Iterable[str]) -> dict[Path, set[str]]:
    """Return folder -> content hashes of its training images, of each stack that lists them.

    Args:
        models: As in `stack_remarks`.
    """
    return {
        folder: set((folder / LEARNT).read_text(encoding="utf-8").split())
        for folder, _ in _stacks(models)
        if (folder / LEARNT).is_file()
    }


def _stacks(models: Iterable[str]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the folder of each stack once, with what it says it is made from."""
    for folder in dict.fromkeys(Path(resolve(model)).parent for model in models):
        try:
            made_from = json.loads((folder / MADE_FROM).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(made_from, dict):
            yield folder, made_from
