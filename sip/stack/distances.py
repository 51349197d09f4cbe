"""How far generated images are from real ones: FID and KID if Inception is on this disk.

Its weights are a download that may not be there. Then the same two distances are measured on the
unit vectors of the stack's scorer and of the card's judge, named so, and never called FID or KID.
If the extra `natural` is installed, also on features of ImageNet's EfficientNet-lite0, which saw
none of the stack's images.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sip.core.errors import UserError
from sip.metrics.distribution import (
    frechet_distance,
    kernel_distance,
    kernel_distance_error,
    precision_recall,
    scaled,
)
from sip.stack.judge import LITE0_NAME
from sip.stack.measures import Numbers
from sip.weights.packages import package_folder, require_package

INCEPTION = "weights-inception-2015-12-05-6726825d.pth"  # of torch-fidelity, in torch's hub cache
INCEPTION_FEATURE = 2048
KID_SUBSETS, KID_SIZE = 100, 1000
BATCH = 250  # images
LITE0_SIZE, LITE0_BATCH = 128, 50  # px, as `metrics=lite0` has it; images
NUM_NEIGHBOURS = 3  # of precision and recall: the paper's


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


def has_lite0() -> bool:
    """Return whether ImageNet's lite0 is on this disk."""
    try:
        require_package(LITE0_NAME)
    except UserError:
        return False
    return True


def lite0_features(pixels: Tensor, device: str) -> Tensor:
    """Return what lite0 hands to its last layer, (N, 1280), on the CPU, of images in [-1, 1]."""
    import timm

    folder = package_folder(LITE0_NAME)
    network = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
    network.to(device, memory_format=torch.channels_last)
    features = []
    with torch.inference_mode():
        for part in pixels.split(LITE0_BATCH):
            size = (LITE0_SIZE, LITE0_SIZE)
            large = F.interpolate(part.to(device), size, mode="bicubic", antialias=True)
            large = large.clamp(-1, 1).contiguous(memory_format=torch.channels_last)
            features.append(network(large).float().cpu())
    return torch.cat(features)


def lite0_distances(real: Tensor, generated: Tensor, device: str) -> Numbers:
    """Return distances, precision and recall in lite0's features, of images in [-1, 1]."""
    first, second = (lite0_features(part, device).numpy() for part in (real, generated))
    products = scaled(first), scaled(second)
    error = kernel_distance_error(*products, KID_SIZE)
    numbers: Numbers = {
        "Frechet distance, lite0 features": round(frechet_distance(first, second), 3),
        "kernel distance, lite0 features": round(kernel_distance(*products), 5),
    }
    if error is not None:
        numbers["its standard error, by blocks"] = round(error, 5)
    if min(len(first), len(second)) > NUM_NEIGHBOURS:
        precision, recall = precision_recall(first, second, NUM_NEIGHBOURS)
        numbers |= {
            "precision, lite0 features": round(precision, 4),
            "recall, lite0 features": round(recall, 4),
        }
    return numbers
