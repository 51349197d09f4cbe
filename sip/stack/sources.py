"""Read the pool of a stack: the part `pretrain` of a data set, else `train`.

Nothing here reads `val` or `test`, except `choose`, for the model card.
"""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sip.core.errors import UserError
from sip.core.image_io import read_rgb
from sip.core.progress import progress
from sip.dataset.base import Dataset, Sample, Split
from sip.dataset.digits import Digits
from sip.stack.grammar import Grammar
from sip.stack.natural import Natural
from sip.stack.pool import Pool
from sip.stack.scans import NUM_COPIES, scan_pool
from sip.stack.strokes import Strokes
from sip.stack.texts import Measured, Own, Texts, read_captions

GRAMMARS: dict[str, type[Grammar]] = {kind.kind: kind for kind in (Strokes, Natural)}


def part_of(dataset: Dataset) -> Split:
    """Return the part that a stack may see: `pretrain` if there is one, else `train`."""
    return "pretrain" if "pretrain" in getattr(dataset, "all_splits", ()) else "train"


def load(
    dataset: Dataset, size: int, *, labelled: bool, mirrored: bool, captions: str | None, seed: int
) -> Pool:
    """Read the pool of a data set.

    Args:
        dataset: The data set; its part `pretrain`, else `train`, is read.
        size: Side of the images, px.
        labelled: Whether class names are known.
        mirrored: Whether mirror images are rows too; never of digits, which are warped instead.
        captions: CSV file of own captions; None for measured ones.
        seed: Seed of the digits' warps.

    Raises:
        UserError: There is no image, one cannot be read, or a caption is missing.
    """
    if isinstance(dataset, Digits) and captions is None:
        return scan_pool(("pretrain",), NUM_COPIES, seed, size, labelled)
    samples = dataset.samples(part_of(dataset))
    images = read(samples, size)
    labels = torch.tensor([sample.label for sample in samples]) if labelled else None
    names = dataset.class_names if labelled else ()
    texts: Texts
    if captions is not None:
        own = read_captions(captions, [sample.sample_id for sample in samples])
        texts = Own(own, labels, names)
    else:
        values = Natural.measure_all(images)
        grammar = Natural.of_values(values)
        texts = Measured(grammar, grammar.levels(values), labels, names)
    return Pool(images, texts, mirrored, shift=size // 8)


def held_out(dataset: Dataset) -> tuple[Split, ...]:
    """Return the parts that the stack did not see and that choices may be made on."""
    return ("train", "val") if part_of(dataset) == "pretrain" else ("val",)


def samples_of(dataset: Dataset, parts: Sequence[Split]) -> list[Sample]:
    """Return the images of the given parts that a stack can be measured on.

    Raises:
        UserError: There are none.
    """
    samples = [sample for part in parts for sample in dataset.samples(part)]
    if not samples:
        raise UserError(
            f"dataset: must have images in {' or '.join(parts)} to measure the stack on, got none; "
            "set dataset.val_fraction=0.1"
        )
    return samples


def choose(
    dataset: Dataset,
    parts: Sequence[Split],
    grammar: Grammar | None,
    size: int,
    num: int,
    seed: int,
    labelled: bool,
) -> Pool:
    """Return images of the given parts, for the card.

    Args:
        dataset: The data set that the stack was trained on.
        parts: Parts of the data set.
        grammar: Grammar of the stack; None if it was trained on own captions.
        size: Side of the images, px.
        num: Images at most, chosen by `seed`.
        seed: Seed of the choice.
        labelled: Whether the stack knows class names.

    Raises:
        UserError: There are none.
    """
    if isinstance(grammar, Strokes):  # all scans, whatever the shots
        return scan_pool(tuple(parts), 0, seed, size, labelled, num)
    samples = samples_of(dataset, parts)
    samples = random.Random(seed).sample(samples, min(num, len(samples)))
    images = read(samples, size)
    labels = torch.tensor([sample.label for sample in samples]) if labelled else None
    texts: Texts
    if grammar is None:
        texts = Own([[""]] * len(samples), labels, dataset.class_names)
    else:
        texts = Measured(grammar, grammar.describe(images), labels, dataset.class_names)
    return Pool(images, texts, mirrored=False, shift=0)


def read(samples: Sequence[Sample], size: int) -> Tensor:
    """Return images (N, 3, size, size), uint8: the central squares, scaled.

    Raises:
        UserError: There is none, or one cannot be read.
    """
    if not samples:
        raise UserError("dataset: must have images to train the stack on, got none")
    images = np.empty((len(samples), size, size, 3), np.uint8)
    with progress("pool", len(samples), "image", delay=2) as bar:
        for row, sample in enumerate(samples):
            try:
                images[row] = np.asarray(read_rgb(sample.path, size))
            except ValueError as error:
                raise UserError(f"dataset: {error}; fix or delete it") from error
            bar.update()
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def grammar_of(values: dict[str, Any]) -> Grammar:
    """Return the grammar that `Grammar.as_dict` described.

    Raises:
        UserError: It is of another version of the attributes.
    """
    known = GRAMMARS.get(values.get("kind", ""))
    if known is None or values["attributes"] != [a.name for a in known.attributes]:
        raise UserError(
            f"grammar.json: must be one of {', '.join(GRAMMARS)} with its attributes, got "
            f"{values.get('kind')!r}; build the stack again"
        )
    return known(values["low"], values["high"])
