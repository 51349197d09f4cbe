"""The digits' pool: 900 scans of the part `pretrain`, each also mildly warped.

So few images need more views than a mirror image gives, and a mirrored digit is no digit.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sip.dataset.digits import CLASS_NAMES, enlarge, scans, split_indices
from sip.stack.pool import Pool
from sip.stack.strokes import Strokes
from sip.stack.texts import Measured

NUM_COPIES = 11  # warped copies of each scan


def scan_images(part: str, size: int = 32) -> tuple[Tensor, Tensor]:
    """Return a part's images (N, 1, size, size), uint8, and labels (N,), int64."""
    images, labels = scans()
    rows = split_indices()[part]
    grey = [np.asarray(enlarge(images[row], size).convert("L")) for row in rows]
    return torch.tensor(np.stack(grey)).unsqueeze(1), torch.tensor(labels[rows])


def strokes(size: int = 32) -> Strokes:
    """Return where "thin" ends and "thick" begins: quantiles over the unwarped `pretrain` part."""
    return Strokes.of(scan_images("pretrain", size)[0])


def warp(grey: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate up to 7 degrees, shear 0.1, scale 8 %, shift 5 % of the side.

    Args:
        grey: (N, 1, H, W), uint8; so is what is returned.
        generator: Source of the random numbers.
    """
    num, _, height, _ = grey.shape

    def uniform(bound: float) -> Tensor:
        return (torch.rand(num, generator=generator) * 2 - 1) * bound

    angle, shear, scale = uniform(math.radians(7)), uniform(0.1), 1 + uniform(0.08)
    shift_x, shift_y = uniform(3.0 / 32), uniform(3.0 / 32)  # of half the side
    cos, sin = angle.cos() / scale, angle.sin() / scale
    theta = torch.stack(
        [
            torch.stack([cos, -sin + shear, shift_x], dim=1),
            torch.stack([sin, cos, shift_y], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(theta, [num, 1, *grey.shape[2:]], align_corners=False)
    moved = F.grid_sample(grey.float(), grid, mode="bicubic", align_corners=False)
    return moved.round().clamp(0, 255).byte()


def scan_pool(
    parts: tuple[str, ...],
    num_copies: int,
    seed: int,
    size: int = 32,
    labelled: bool = True,
    num: int | None = None,
) -> Pool:
    """Return parts of the digits once as they are and `num_copies` times warped.

    Args:
        parts: Names in `sip.dataset.digits.SPLITS`.
        num_copies: Warped ones of each scan.
        seed: Seed of the warps and of the choice.
        size: Side of the images, px.
        labelled: Whether the digits are known.
        num: Scans at most, chosen by `seed`; None for all.
    """
    parts_read = [scan_images(part, size) for part in parts]
    grey, labels = (torch.cat(tensors) for tensors in zip(*parts_read, strict=True))
    generator = torch.Generator().manual_seed(seed)
    if num is not None and num < len(grey):
        rows = torch.randperm(len(grey), generator=generator)[:num].sort().values
        grey, labels = grey[rows], labels[rows]
    grey = torch.cat([grey, *(warp(grey, generator) for _ in range(num_copies))])
    grammar = strokes(size)
    known = labels.repeat(num_copies + 1) if labelled else None
    texts = Measured(grammar, grammar.describe(grey), known, CLASS_NAMES)
    return Pool(grey, texts, mirrored=False, shift=0)
