"""Distances in the features of a network, against torchmetrics with the same network."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from sip.backbone.timm import Timm
from sip.config.build import build
from sip.core.image_io import read_rgb
from sip.core.stages import StageLog
from sip.dataset.base import Sample
from sip.dataset.digits import CLASS_NAMES
from sip.metrics.base import FeatureMetric
from sip.pipeline.features import feature_set, required_by_metrics
from sip.pipeline.offline import Offline
from sip.pipeline.quality import measure
from sip.pipeline.stored import StoredImage
from sip.prompts.base import Prompt
from sip.weights import packages
from sip.weights.missing import MissingWeightsError
from tests.composing import composed
from tests.dataset.trees import source
from tests.kills import configuration
from tests.pipeline.made_up import stored

NUM = 60  # images
SIZE, MEAN, STD = 32, (0.4, 0.5, 0.6), (0.02, 0.03, 0.04)


class Features(nn.Module):
    """The network as torchmetrics takes one: from uint8 of any size to features."""

    num_features = 0

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.reset_classifier(0) or model

    def forward(self, images: Tensor) -> Tensor:
        mean, std = (torch.tensor(part).view(3, 1, 1) for part in (MEAN, STD))
        with torch.no_grad():
            return self.model((images.float() / 255 - mean) / std)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Timm:
    folder = tmp_path_factory.mktemp("network")
    torch.manual_seed(3)
    timm.models.save_for_hf(timm.create_model("test_resnet"), folder, safe_serialization=True)
    return Timm("test_resnet", str(folder), None, None, None, 0.0, SIZE, MEAN, STD)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Sample]]:
    data = source("digits", str(tmp_path_factory.mktemp("data")), image_size=32, shots=20)
    low = [sample for sample in data.samples("train") if sample.label < 3]
    return {"train": low[:NUM], "val": data.samples("val")[:NUM]}


def generated(samples: list[Sample]) -> list[StoredImage]:
    made = []
    for sample in samples:
        prompt = Prompt(
            sample.sample_id, sample.path, sample.sha256, sample.label, sample.class_name, 0,
            (), "", 4.0, 0.5, 0, None, None,
        )  # fmt: skip
        made.append(stored(prompt, sample.path))
    return made


def pixels(samples: list[Sample]) -> Tensor:
    images = np.stack([np.asarray(read_rgb(sample.path, SIZE)) for sample in samples])
    return torch.from_numpy(images).permute(0, 3, 1, 2)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`")
def test_distances_of_a_run_equal_torchmetrics(
    backbone: Timm, samples: dict[str, list[Sample]], tmp_path: Path
) -> None:
    node = {
        "_target_": "sip.metrics.distribution.FeatureDistribution",
        "features": "tested",
        "network": {"_target_": "sip.backbone.timm.Timm", "name": "test_resnet"}
        | {key: getattr(backbone, key) for key in ("weights", "revision", "stem", "patch_size")}
        | {"drop_path": 0.0, "input_size": SIZE, "mean": list(MEAN), "std": list(STD)},
        "precision_neighbours": 3,
        "coverage_neighbours": 5,
    }
    paths = {"store": str(tmp_path / "store")}
    config = OmegaConf.create({"metrics": {"tested": node}, "paths": paths})
    offline, images = Offline(configuration(tmp_path)), generated(samples["train"])
    found = measure(
        config, offline, images, samples["val"], CLASS_NAMES, StageLog(), tmp_path
    ).metrics
    assert set(found) == {
        f"generated/{name}_tested"
        for name in ("frechet", "kernel_distance", "precision", "recall", "density", "coverage")
    }

    network = Features(timm.create_model(f"local-dir:{backbone.weights}", pretrained=True).eval())
    network.num_features = network(pixels(samples["val"][:1])).shape[1]
    frechet = FrechetInceptionDistance(feature=network)
    kernel = KernelInceptionDistance(feature=network, subsets=1, subset_size=NUM)
    for metric in (frechet, kernel):
        metric.update(pixels(samples["val"]), real=True)
        metric.update(pixels(samples["train"]), real=False)
    expected = frechet.compute().item()
    assert found["generated/frechet_tested"] == pytest.approx(expected, rel=1e-3)
    expected = kernel.compute()[0].item()
    assert found["generated/kernel_distance_tested"] == pytest.approx(expected, rel=1e-3)


def test_features_are_kept_in_the_store(
    backbone: Timm,
    samples: dict[str, list[Sample]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = generated(samples["train"][:6])
    first = feature_set(backbone, images, samples["val"][:5], tmp_path, "cpu")
    assert first.generated.shape[0] == 6 and first.reference.shape[0] == 5
    assert first.reference_split == "val"
    monkeypatch.setattr(
        "sip.classifier.kept_features.compute", lambda *_: pytest.fail("computed again")
    )
    again = feature_set(backbone, images[::-1], samples["val"][:5], tmp_path, "cpu")
    np.testing.assert_array_equal(again.generated, first.generated[::-1])


@pytest.mark.parametrize("profile", ["embedded", "cifar10"])
def test_lite0_is_asked_for_before_costly_work(
    profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = composed(f"profile={profile}", "metrics=[consistency,lite0]")
    metric = build(config.metrics.lite0)
    assert isinstance(metric, FeatureMetric) and metric.network.input_size == 128
    assert not isinstance(build(config.metrics.consistency), FeatureMetric)
    (require,) = required_by_metrics(config).values()
    monkeypatch.setattr(packages, "_copy", lambda name: None)
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    with pytest.raises(MissingWeightsError, match="its package is not installed"):
        require()
