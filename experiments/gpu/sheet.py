"""One labelled image of what a generator does: originals, image to image, from noise, the loss."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from experiments.gpu.cifar import CLASSES
from experiments.gpu.flow import Progress, sample
from experiments.gpu.latents import PatchPCA, to_float

if TYPE_CHECKING:
    from diffusers import UNet2DModel

RATES = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9)  # noise rates of image to image
RATE_GUIDANCE = 2.0
GUIDANCE_SCALES = (1.0, 2.0, 4.0)  # from noise; each twice
STEPS, TINY_STEPS = 50, 4
SEED = 3
INCH = 0.55  # of an image


def plot_sheet(
    file: Path,
    network: "UNet2DModel",
    pca: PatchPCA,
    images: Tensor,
    labels: Tensor,
    progress: Progress,
    tiny: bool,
) -> None:
    """Write the image; one class a column.

    Args:
        images: Held out, (N, 3, 32, 32), uint8; the first of each class is used.
        labels: Theirs, (N,).
    """
    rows = _rows(network, pca, images, labels, TINY_STEPS if tiny else STEPS)
    _plot(file, rows, progress)


def _rows(
    network: "UNet2DModel", pca: PatchPCA, images: Tensor, labels: Tensor, steps: int
) -> list[tuple[str, Tensor]]:
    """Return (label, images (10, 3, 32, 32) in [-1, 1]) of each row."""
    picked = torch.stack([(labels == number).nonzero()[0, 0] for number in range(len(CLASSES))])
    originals, classes = images[picked], labels[picked]
    latents = pca.encode(originals)
    generator = torch.Generator().manual_seed(SEED)
    noises = torch.randn(3, *latents.shape, generator=generator).to(latents.device)
    starts = [(f"noise rate {rate}", rate, RATE_GUIDANCE, noises[0]) for rate in RATES]
    starts += [
        (f"from noise, guidance {scale:g}", 1.0, scale, noise)
        for scale in GUIDANCE_SCALES
        for noise in noises[1:]
    ]
    num = len(classes)
    begin, scales = (
        torch.tensor([start[place] for start in starts], device=latents.device).repeat_interleave(
            num
        )
        for place in (1, 2)
    )
    noised = [(1 - rate) * latents + rate * noise for _, rate, _, noise in starts]
    labels = classes.repeat(len(starts))
    done = pca.decode(sample(network, torch.cat(noised), labels, begin, scales, steps))
    rows = [("original", to_float(originals)), ("latents and back", pca.decode(latents))]
    names = [start[0] for start in starts]
    return rows + list(zip(names, done.split(num), strict=True))


def _plot(file: Path, rows: list[tuple[str, Tensor]], progress: Progress) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    grid = torch.cat([torch.cat(list(row), 2) for _, row in rows], 1).cpu()
    pixels = ((grid.permute(1, 2, 0) + 1) * 127.5).round().clamp(0, 255).byte().numpy()
    width, height = len(CLASSES) * INCH + 2, len(rows) * INCH + 2.6
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(width, height), height_ratios=[len(rows) * INCH, 1.8], layout="constrained"
    )
    top.imshow(pixels, interpolation="nearest")
    top.set_xticks([16 + 32 * number for number in range(len(CLASSES))], CLASSES, fontsize=6)
    top.set_yticks(
        [16 + 32 * number for number in range(len(rows))], [name for name, _ in rows], fontsize=7
    )
    top.xaxis.tick_top()
    top.tick_params(length=0)
    seen, loss = zip(*progress.loss, strict=True)
    bottom.plot([images / 1e6 for images in seen], loss, linewidth=1)
    bottom.set_xlabel("million images", fontsize=7)
    bottom.set_ylabel("training loss", fontsize=7)
    bottom.tick_params(labelsize=6)
    figure.savefig(file, dpi=150, bbox_inches="tight")
    plt.close(figure)
