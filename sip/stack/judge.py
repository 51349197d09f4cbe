"""The card's judge of labels: a convolutional network of its own, used for nothing else.

It is trained on the same pool as the stack, is no part of it, and has other features than the
stack's models, so it can judge them.
"""

import random
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sip.stack.fit import fit
from sip.stack.pool import Pool
from sip.stack.sizes import Preset
from sip.stack.work import Work

FILE = "judge.safetensors"
BATCH = 500  # images that are judged at a time
POOLED = 2  # the last map is averaged to 2 x 2


class Judge(nn.Module):
    """Convolutions with batch norm, each but the first halving the image, and one linear layer.

    Args:
        widths: Channels, level by level.
        num_classes: Number of classes of the data set.
    """

    def __init__(self, widths: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number, (before, after) in enumerate(pairwise((3, *widths))):
            layers += [
                nn.Conv2d(before, after, 3, 1 if number == 0 else 2, 1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
                nn.Conv2d(after, after, 3, 1, 1, bias=False, groups=after // 16),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(POOLED), nn.Flatten())
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(widths[-1] * POOLED**2, num_classes))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B, C) of images (B, 3, S, S), in [-1, 1]."""
        logits: Tensor = self.head(self.body(pixels))
        return logits


def train_judge(pool: Pool, preset: Preset, seed: int, work: Work) -> tuple[Judge, dict]:
    """Train the judge on the labels of the pool."""
    torch.manual_seed(seed + 1)
    model = Judge(preset.judge, pool.num_classes).to(work.device)

    def loss(rows: Tensor, rng: random.Random) -> Tensor:
        return F.cross_entropy(model(pool.pixels(rows, shifted=1.0)).float(), pool.labels(rows))

    report = fit(
        "judge", model, loss, len(pool), training=preset.training["judge"], seed=seed + 1,
        work=work,
    )  # fmt: skip
    return model, report


def save_judge(model: Judge, folder: Path) -> None:
    """Write the judge next to the stack."""
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()}, folder / FILE
    )


def load_judge(folder: Path, preset: Preset, num_classes: int, device: str) -> Judge:
    """Return the judge that lies next to a stack."""
    model = Judge(preset.judge, num_classes)
    model.load_state_dict(load_file(folder / FILE))
    return model.eval().to(device)


@torch.no_grad()
def judged(model: Judge, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return labels (N,), int64, and features (N, D), float32, on the CPU.

    Args:
        model: The judge.
        pixels: (N, 3, S, S), in [-1, 1], on any device.
    """
    device = next(model.parameters()).device
    features = torch.cat([model.body(part.to(device)) for part in pixels.split(BATCH)])
    return model.head(features).argmax(1).cpu(), features.float().cpu()
