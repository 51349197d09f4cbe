"""How far generated images are from real ones: FID and KID if Inception is on this disk.

Its weights are a download that may not be there. Then the same two distances are measured on the
unit vectors of the stack's scorer and of the card's judge, named so, and never called FID or KID.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sip.metrics.distribution import frechet_distance, kernel_distance
from sip.stack.measures import Numbers

INCEPTION = "weights-inception-2015-12-05-6726825d.pth"  # of torch-fidelity, in torch's hub cache
INCEPTION_FEATURE = 2048
KID_SUBSETS, KID_SIZE = 100, 1000
BATCH = 250  # images


def has_inception() -> bool:
    """Return whether torch-fidelity and its weights are on this disk."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION
    return find_spec("torch_fidelity") is not None and file.is_file()


def inception_distances(real: Tensor, generated: Tensor, device: str, feature: Any) -> Numbers:
    """Return FID and KID by torchmetrics.

    Args:
        real: (N, 3, S, S), in [-1, 1]; `generated` likewise.
        generated: Images of the same shape and range.
        device: The device that Inception runs on.
        feature: torchmetrics' argument: a width of Inception's, or a network in its place.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(KID_SIZE, len(real), len(generated))
    fid = FrechetInceptionDistance(feature=feature, normalize=True).to(device)
    kid = KernelInceptionDistance(
        feature=feature, subsets=KID_SUBSETS, subset_size=size, normalize=True
    ).to(device)
    torch.manual_seed(0)  # of the subsets
    for images, is_real in ((real, True), (generated, False)):
        for part in images.split(BATCH):
            pixels = ((part + 1) / 2).to(device)
            fid.update(pixels, real=is_real)
            kid.update(pixels, real=is_real)
    return {"FID": round(fid.compute().item(), 2), "KID": round(kid.compute()[0].item(), 5)}


def feature_distances(real: Mapping[str, Tensor], generated: Mapping[str, Tensor]) -> Numbers:
    """Return Frechet and kernel distance of unit vectors (N, D), by who sees them."""
    distances: Numbers = {}
    for name, vectors in real.items():
        first, second = vectors.double().numpy(), generated[name].double().numpy()
        for kind, distance in (("Frechet", frechet_distance), ("kernel", kernel_distance)):
            distances[f"{kind} distance of the {name}'s features"] = round(
                distance(first, second), 5
            )
    return distances
