"""The card's judge of labels: a network of its own, used for nothing else.

It is trained on the same pool as the stack, is no part of it, and has other features than the
stack's models, so it can judge them. `Judge` learns from the pool only; `Lite0Judge` is ImageNet's
EfficientNet-lite0 (extra `natural`), fine-tuned on the pool.
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
from sip.weights.packages import package_folder

FILE = "judge.safetensors"
NETWORKS = ("scratch", "lite0")
BATCH = 100  # images that are judged at a time
POOLED = 2  # the last map is averaged to 2 x 2
LITE0_NAME = "tf_efficientnet_lite0"  # timm's
LITE0_SIZE = 96  # px; at 32 px its last map would be one pixel
LITE0_DROPOUT = 0.2


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


class Lite0Judge(nn.Module):
    """EfficientNet-lite0 on enlarged images, with a head for the classes of the data set.

    Args:
        num_classes: Number of classes of the data set.
        weights: Folder of ImageNet's weights in timm's hub layout; None: random ones, to be loaded.
    """

    def __init__(self, num_classes: int, weights: Path | None = None) -> None:
        import timm

        super().__init__()
        name = LITE0_NAME if weights is None else f"local-dir:{weights}"
        pretrained = weights is not None
        network = timm.create_model(name, pretrained=pretrained, drop_rate=LITE0_DROPOUT)
        network.reset_classifier(num_classes)
        self.network = network.to(memory_format=torch.channels_last)  # faster on a CPU, too

    def body(self, pixels: Tensor) -> Tensor:
        """Return features (B, D) of images (B, 3, S, S), in [-1, 1], the range of its weights."""
        size = (LITE0_SIZE, LITE0_SIZE)
        large = F.interpolate(pixels, size, mode="bicubic", antialias=True).clamp(-1, 1)
        maps = self.network.forward_features(large.contiguous(memory_format=torch.channels_last))
        features: Tensor = self.network.forward_head(maps, pre_logits=True)
        return features

    @property
    def head(self) -> nn.Module:
        """The layer from features to logits."""
        return self.network.get_classifier()

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B, C) of images (B, 3, S, S), in [-1, 1]."""
        logits: Tensor = self.head(self.body(pixels))
        return logits


AnyJudge = Judge | Lite0Judge


def train_judge(pool: Pool, preset: Preset, seed: int, work: Work) -> tuple[AnyJudge, dict]:
    """Train the judge on the labels of the pool.

    Raises:
        MissingWeightsError: ImageNet's weights are not on this disk.
    """
    torch.manual_seed(seed + 1)
    weights = package_folder(LITE0_NAME) if preset.judge is None else None
    model = new_judge(preset, pool.num_classes, weights).to(work.device)

    def loss(rows: Tensor, rng: random.Random) -> Tensor:
        return F.cross_entropy(model(pool.pixels(rows, shifted=1.0)).float(), pool.labels(rows))

    report = fit(
        "judge", model, loss, len(pool), training=preset.training["judge"], seed=seed + 1,
        work=work,
    )  # fmt: skip
    return model, {**report, "network": network_of(preset)}


def network_of(preset: Preset) -> str:
    """Return the one of `NETWORKS` that the judge of a preset is."""
    return "lite0" if preset.judge is None else "scratch"


def new_judge(preset: Preset, num_classes: int, weights: Path | None = None) -> AnyJudge:
    """Return the judge of a preset before its training.

    Args:
        preset: Sizes and budgets.
        num_classes: Number of classes of the data set.
        weights: Folder of ImageNet's weights; None: random ones.
    """
    if preset.judge is None:
        return Lite0Judge(num_classes, weights)
    return Judge(preset.judge, num_classes)


def save_judge(model: AnyJudge, folder: Path) -> None:
    """Write the judge next to the stack."""
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()}, folder / FILE
    )


def load_judge(folder: Path, preset: Preset, num_classes: int, device: str) -> AnyJudge:
    """Return the judge that lies next to a stack."""
    model = new_judge(preset, num_classes)
    model.load_state_dict(load_file(folder / FILE))
    return model.eval().to(device)


@torch.no_grad()
def judged(model: AnyJudge, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return labels (N,), int64, and features (N, D), float32, on the CPU.

    Args:
        model: The judge.
        pixels: (N, 3, S, S), in [-1, 1], on any device.
    """
    device = next(model.parameters()).device
    features = torch.cat([model.body(part.to(device)) for part in pixels.split(BATCH)])
    return model.head(features).argmax(1).cpu(), features.float().cpu()
