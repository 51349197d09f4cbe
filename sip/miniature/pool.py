"""The pictures the miniature models learn from: the `pretrain` part, mildly warped.

Nothing here reads `train`, `val` or `test`, except `held_out`, which the model card is measured on.
"""

import math
import random
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sip.dataset.digits import enlarge, scans, split_indices
from sip.miniature.attributes import DIGIT_NAMES, Thresholds, caption, measure, thresholds

IMAGE_SIZE = 32  # px
LABEL_PROMPT = "a photo of a {label}"


@dataclass(frozen=True)
class Pool:
    """Pictures with what is known of them.

    Attributes:
        grey: (N, 32, 32), float32, in [0, 1].
        labels: (N,), int64, the digit.
        levels: (N, 4), int64, the measured attributes' levels.
    """

    grey: Tensor
    labels: Tensor
    levels: Tensor

    def pixels(self, rows: Tensor) -> Tensor:
        """Return pictures (B, 3, 32, 32), float32, in [-1, 1]."""
        return self.grey[rows].unsqueeze(1).expand(-1, 3, -1, -1) * 2 - 1


def pictures(part: str) -> tuple[Tensor, Tensor]:
    """Return a part's pictures (N, 32, 32), float32, in [0, 1], and labels (N,), int64."""
    images, labels = scans()
    rows = split_indices()[part]
    grey = [np.asarray(enlarge(images[row], IMAGE_SIZE).convert("L")) for row in rows]
    return torch.tensor(np.stack(grey)).float() / 255, torch.tensor(labels[rows])


def pretrain_thresholds() -> Thresholds:
    """Return where "thin" ends and "thick" begins: quantiles over the unwarped `pretrain` part."""
    return thresholds(measure(pictures("pretrain")[0]))


def warp(grey: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate up to 7 degrees, shear 0.1, scale 8 %, shift 1.5 px: (N, H, W) to (N, H, W)."""
    num, height, _ = grey.shape

    def uniform(bound: float) -> Tensor:
        return (torch.rand(num, generator=generator) * 2 - 1) * bound

    angle, shear, scale = uniform(math.radians(7)), uniform(0.1), 1 + uniform(0.08)
    shift_x, shift_y = uniform(3.0 / height), uniform(3.0 / height)
    cos, sin = angle.cos() / scale, angle.sin() / scale
    theta = torch.stack(
        [
            torch.stack([cos, -sin + shear, shift_x], dim=1),
            torch.stack([sin, cos, shift_y], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(theta, [num, 1, *grey.shape[1:]], align_corners=False)
    return F.grid_sample(grey.unsqueeze(1), grid, mode="bicubic", align_corners=False)[:, 0].clamp(
        0, 1
    )


def pretrain_pool(num_copies: int, seed: int) -> Pool:
    """Return the `pretrain` part once as it is and `num_copies` times warped."""
    grey, labels = pictures("pretrain")
    generator = torch.Generator().manual_seed(seed)
    greys = [grey, *(warp(grey, generator) for _ in range(num_copies))]
    return _pool(torch.cat(greys), labels.repeat(num_copies + 1))


def held_out() -> Pool:
    """Return pictures that no miniature model saw: the parts `train` and `val`."""
    parts = [pictures(part) for part in ("train", "val")]
    return _pool(torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts]))


def _pool(grey: Tensor, labels: Tensor) -> Pool:
    return Pool(grey, labels, pretrain_thresholds().levels(measure(grey)))


def prompt(label: int, levels: Tensor, rng: random.Random) -> str:
    """Write a training prompt: label and caption 55 %, label 18 %, caption 12 %, empty 15 %."""
    named, said = LABEL_PROMPT.format(label=DIGIT_NAMES[label]), caption(levels, rng)
    kinds = (f"{named}, {said}", named, said, "")
    return rng.choices(kinds, weights=(55, 18, 12, 15))[0]
