"""The pictures that a stack learns from: the part `pretrain` of a data set, else `train`.

Nothing here reads `val` or `test`, except `choose`, for the model card.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sip.core.errors import UserError
from sip.core.image_io import read_rgb
from sip.core.progress import progress
from sip.dataset.base import Dataset, Sample, Split
from sip.dataset.digits import Digits
from sip.stack.grammar import Grammar
from sip.stack.natural import Natural
from sip.stack.strokes import Strokes
from sip.stack.texts import Measured, Own, Texts, read_captions

GRAMMARS: dict[str, type[Grammar]] = {one.kind: one for one in (Strokes, Natural)}


@dataclass(frozen=True)
class Pool:
    """Pictures with what is said of them.

    Attributes:
        pictures: (N, C, S, S), uint8; C is 1 (grey) or 3.
        texts: Of the N pictures.
        mirrored: Each picture has a second row, its mirror image: rows N .. 2 N - 1.
        shift: px that a picture may be moved by, where a model asks for it; 0 for none.
    """

    pictures: Tensor
    texts: Texts
    mirrored: bool
    shift: int

    def __len__(self) -> int:
        """Return the number of rows, mirror images included."""
        return len(self.pictures) * (2 if self.mirrored else 1)

    @property
    def side(self) -> int:
        """Side of the pictures, px."""
        return self.pictures.shape[-1]

    @property
    def device(self) -> torch.device:
        """Where the pictures are."""
        return self.pictures.device

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 where the pool is not labelled."""
        return len(self.texts.names)

    def sources(self, rows: Tensor) -> list[int]:
        """Return the pictures of rows: mirror images have their original's captions."""
        return (rows % len(self.pictures)).tolist()

    def labels(self, rows: Tensor) -> Tensor:
        """Return the labels (B,), int64, of rows of a labelled pool, on the pictures' device."""
        assert self.texts.labels is not None
        return self.texts.labels[rows % len(self.pictures)].to(self.device)

    def pixels(self, rows: Tensor, shifted: float = 0.0) -> Tensor:
        """Return pictures (B, 3, S, S), float32, in [-1, 1], on the pictures' device.

        Args:
            rows: (B,), int64, on the CPU.
            shifted: Each is moved by up to this share of `shift`; random numbers are torch's.
        """
        found = self.pictures[(rows % len(self.pictures)).to(self.device)]
        if self.mirrored:
            mirror = (rows >= len(self.pictures)).to(self.device).view(-1, 1, 1, 1)
            found = torch.where(mirror, found.flip(-1), found)
        pixels = found.expand(-1, 3, -1, -1).float() / 255 * 2 - 1
        most = round(self.shift * shifted)
        return moved(pixels, torch.randint(2 * most + 1, (2, len(rows))), most) if most else pixels

    def to(self, device: str) -> "Pool":
        """Return the pool with its pictures on a device, if they fit in half of its free memory."""
        if torch.device(device).type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            if self.pictures.nbytes > free / 2:
                raise UserError(
                    f"dataset: {self.pictures.nbytes / 1e9:.1f} GB of pictures do not fit in half "
                    f"of the {free / 1e9:.1f} GB that are free on {device}; take fewer"
                )
        return replace(self, pictures=self.pictures.to(device))


def moved(pixels: Tensor, offsets: Tensor, most: int) -> Tensor:
    """Move pictures by whole pixels; what comes in at a border is the picture mirrored there.

    Args:
        pixels: (B, C, S, S).
        offsets: (2, B), int64, in 0 .. 2 `most`; `most` is where a picture stays in its place.
        most: px.
    """
    num, channels, side, _ = pixels.shape
    wide = F.pad(pixels, (most, most, most, most), mode="reflect")
    device = pixels.device
    y, x = (offset.to(device)[:, None] + torch.arange(side, device=device) for offset in offsets)
    picture = torch.arange(num, device=device).view(-1, 1, 1, 1)
    channel = torch.arange(channels, device=device).view(1, -1, 1, 1)
    return wide[picture, channel, y.view(num, 1, side, 1), x.view(num, 1, 1, side)]


def part_of(dataset: Dataset) -> Split:
    """Return the part that a stack may see: `pretrain` if there is one, else `train`."""
    return "pretrain" if "pretrain" in getattr(dataset, "all_splits", ()) else "train"


def load(
    dataset: Dataset, size: int, *, labelled: bool, mirrored: bool, captions: str | None, seed: int
) -> Pool:
    """Read the pool of a data set.

    Args:
        dataset: Whose part `pretrain`, else `train`, is read.
        size: Side of the pictures, px.
        labelled: Whether class names are known.
        mirrored: Whether mirror images are rows too; never of digits, which are warped instead.
        captions: CSV file of own captions; None for measured ones.
        seed: Of the digits' warps.

    Raises:
        UserError: There is no picture, one cannot be read, or a caption is missing.
    """
    if isinstance(dataset, Digits) and captions is None:
        from sip.stack.scans import NUM_COPIES, scan_pool

        return scan_pool(("pretrain",), NUM_COPIES, seed, size, labelled)
    samples = dataset.samples(part_of(dataset))
    pictures = read(samples, size)
    labels = torch.tensor([sample.label for sample in samples]) if labelled else None
    names = dataset.class_names if labelled else ()
    texts: Texts
    if captions is not None:
        said = read_captions(captions, [sample.sample_id for sample in samples])
        texts = Own(said, labels, names)
    else:
        values = Natural.measure_all(pictures)
        grammar = Natural.of_values(values)
        texts = Measured(grammar, grammar.levels(values), labels, names)
    return Pool(pictures, texts, mirrored, shift=size // 8)


def held_out(dataset: Dataset) -> tuple[Split, ...]:
    """Return the parts that the stack did not see and that choices may be made on."""
    return ("train", "val") if part_of(dataset) == "pretrain" else ("val",)


def choose(
    dataset: Dataset,
    parts: Sequence[Split],
    grammar: Grammar | None,
    size: int,
    num: int,
    seed: int,
    labelled: bool,
) -> Pool:
    """Return pictures of some parts, for the card.

    Args:
        dataset: That the stack was made of.
        parts: Of it.
        grammar: Of the stack; None where it learnt from own captions, which these may not have.
        size: Side of the pictures, px.
        num: Pictures at most, chosen by `seed`.
        seed: Of the choice.
        labelled: Whether the stack knows class names.

    Raises:
        UserError: There are none.
    """
    if isinstance(grammar, Strokes):  # all scans, whatever the shots
        from sip.stack.scans import scan_pool

        return scan_pool(tuple(parts), 0, seed, size, labelled, num)
    samples = [sample for part in parts for sample in dataset.samples(part)]
    if not samples:
        raise UserError(
            f"dataset: expected pictures in {' or '.join(parts)} to judge the stack on, came none; "
            "set dataset.val_fraction=0.1"
        )
    samples = random.Random(seed).sample(samples, min(num, len(samples)))
    pictures = read(samples, size)
    labels = torch.tensor([sample.label for sample in samples]) if labelled else None
    texts: Texts
    if grammar is None:
        texts = Own([[""]] * len(samples), labels, dataset.class_names)
    else:
        texts = Measured(grammar, grammar.describe(pictures), labels, dataset.class_names)
    return Pool(pictures, texts, mirrored=False, shift=0)


def read(samples: Sequence[Sample], size: int) -> Tensor:
    """Return pictures (N, 3, size, size), uint8: the central squares, scaled.

    Raises:
        UserError: There is none, or one cannot be read.
    """
    if not samples:
        raise UserError("dataset: expected pictures for the stack to learn from, came none")
    pictures = np.empty((len(samples), size, size, 3), np.uint8)
    with progress("pool", len(samples), "picture", delay=2) as bar:
        for row, sample in enumerate(samples):
            try:
                pictures[row] = np.asarray(read_rgb(sample.path, size))
            except ValueError as error:
                raise UserError(f"dataset: {error}; mend or remove it") from error
            bar.update()
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()


def grammar_of(values: dict[str, Any]) -> Grammar:
    """Return the grammar that `Grammar.as_dict` described.

    Raises:
        UserError: It is of another version of the attributes.
    """
    known = GRAMMARS.get(values.get("kind", ""))
    if known is None or values["attributes"] != [a.name for a in known.attributes]:
        raise UserError(
            f"grammar.json: expected one of {', '.join(GRAMMARS)} with its attributes, came "
            f"{values.get('kind')!r}; make the stack again"
        )
    return known(values["low"], values["high"])
