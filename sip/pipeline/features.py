"""A generated set in the features of a network that a metric names, kept in the store."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from sip.backbone.base import Backbone
from sip.classifier.base import LabelledImage, TrainingImage
from sip.config.build import build
from sip.core.uri import Place
from sip.dataset.base import Sample
from sip.metrics.base import FeatureMetric, FeatureSet
from sip.pipeline.stored import StoredImage

if TYPE_CHECKING:
    import numpy as np

BATCH = 64  # images on the device at a time


def required_by_metrics(config: DictConfig) -> dict[str, Callable[[], None]]:
    """Return what checks that the weights of the metrics' networks are there, by the metric."""
    metrics = {name: build(node) for name, node in config.metrics.items()}
    return {
        f"metrics.{name}": metric.network.require
        for name, metric in metrics.items()
        if isinstance(metric, FeatureMetric)
    }


def feature_set(
    network: Backbone,
    images: Sequence[StoredImage],
    reference: Sequence[Sample],
    store: Place,
    device: str,
) -> FeatureSet:
    """Return generated and real images in the features of a network.

    Args:
        network: A pre-trained backbone.
        images: Generated ones, one at least.
        reference: Real images of one split, one at least.
        store: The store.
        device: A torch device.

    Raises:
        UserError: The network's weights are missing, or it does not end in one linear layer.
    """
    made = [
        TrainingImage(
            image.prompt.image_id,
            image.file,
            image.prompt.label,
            file_sha256=image.row.file_sha256,
        )
        for image in images
    ]
    features = network_features(network, [*made, *reference], store, device)
    return FeatureSet(features[: len(made)], features[len(made) :], reference[0].split)


def network_features(
    backbone: Backbone, rows: Sequence[LabelledImage], store: Place, device: str
) -> "np.ndarray":
    """Return what a network hands to its last linear layer, (N, D), float32, of images."""
    import torch

    from sip.classifier.kept_features import compute, kept_features
    from sip.classifier.tuning.probed import Probed

    network = Probed(backbone.create(2))
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    mean, std = (torch.tensor(part, device=device).view(3, 1, 1) for part in backbone.normalisation)

    def extract(images: torch.Tensor) -> torch.Tensor:
        return compute(network, (images.to(device).float() / 255 - mean) / std)

    features, _ = kept_features(extract, backbone, rows, store, BATCH)
    return features.numpy()
