"""Labels of two classes: shares by the paper's formula, in streams, features and the loss."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from torch.utils.data import DataLoader

from sip.augmentation.mix.cutmix import CutMix
from sip.augmentation.mix.moex import MoEx
from sip.augmentation.mix.none import NoMix
from sip.augmentation.offline.generated import GeneratedMode
from sip.classifier.base import TrainingImage
from sip.classifier.data import DecodedImages, Stream
from sip.classifier.features import FeatureStream
from sip.classifier.module import Classifier
from sip.classifier.targets import Targets
from sip.core.hashing import seeded
from tests.classifier.recipes import PLAIN, recipe

SHARE = 0.7**0.5  # noise rate 0.7, gamma 0.5
# Two real images, and one from each on its way to another class; 4 classes.
EXPECTED = torch.tensor(
    [[1, 0, 0, 0], [0, 1, 0, 0], [1 - SHARE, 0, SHARE, 0], [0, 0.75, 0, 0.25]],
    dtype=torch.float32,
)


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> list[TrainingImage]:
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    files = [str(folder / f"{number}.png") for number in range(4)]
    for file in files:
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(file)
    return [
        TrainingImage("p0", files[0], 0),
        TrainingImage("p1", files[1], 1),
        TrainingImage("g0", files[2], 2, "p0", None, 0.5, 0, SHARE),
        TrainingImage("g1", files[3], 3, "p1", None, 0.25, 1, 0.25),
    ]


def mode(name: str) -> GeneratedMode:
    return GeneratedMode(name, 1.0, 0.5, None)


def test_shares_are_those_of_the_two_classes(rows) -> None:
    torch.testing.assert_close(Targets(rows, 4).of(torch.arange(4)), EXPECTED)
    torch.testing.assert_close(Targets(rows, 4).of(torch.tensor([3, 2, 3])), EXPECTED[[3, 2, 3]])
    same = replace(rows[2], source_label=2)
    assert Targets([same], 4).of(torch.tensor([0])).tolist() == [[0, 0, 1, 0]]


def test_targets_stay_class_indices_without_images_of_two_classes(rows) -> None:
    plain = Targets(rows[:2], 0).of(torch.tensor([1, 0, 0]))
    assert plain.dtype == torch.int64 and plain.tolist() == [1, 0, 0]


@pytest.mark.parametrize("name", ["concat", "replace", "weighted", "verdict"])
def test_a_stream_gives_each_image_its_shares(rows, name: str) -> None:
    stream = Stream(DecodedImages(rows, 16), (), 24, 0, mode(name), 4)
    (batch,) = DataLoader(stream, 24)
    torch.testing.assert_close(batch[1], EXPECTED[stream.order])
    weights = {"weighted": [1, 1, 0.5, 0.5], "verdict": [1, 1, 0.5, 0.25]}.get(name)
    if name == "replace":
        assert set(stream.order.tolist()) == {2, 3}
    if weights is not None:
        torch.testing.assert_close(batch[2], torch.tensor(weights)[stream.order])


def test_features_have_the_shares_of_the_images(rows) -> None:
    values = recipe(steps=3)
    arm = replace(PLAIN, offline=mode("concat"))
    features = FeatureStream(torch.arange(4.0)[:, None], rows, arm, values, 3, 4)
    for step in range(3):
        numbers, targets = features[step]
        torch.testing.assert_close(targets, EXPECTED[numbers[:, 0].long()])


def loss_of(rows, mix, monkeypatch, offline="concat", smoothing=0.1) -> tuple[torch.Tensor, ...]:
    """Return the loss of a step with the logits and targets that the mix made of its batch."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 4))
    values = recipe(label_smoothing=smoothing)
    grey = (0.5, 0.5, 0.5)
    module = Classifier(network, values, mix, 4, grey, grey, 0, 1)
    monkeypatch.setattr(module, "log", lambda *_, **__: None)
    (batch,) = DataLoader(Stream(DecodedImages(rows, 16), (), 8, 0, mode(offline), 4), 8)
    loss = module.training_step(batch, 0)
    images, targets, *weights = batch
    with torch.no_grad(), module.seeded():
        targets = targets * weights[0][:, None] if weights else targets
        return loss, *mix(network, module.normalise(images), targets)


@pytest.mark.parametrize("mix", [NoMix(), CutMix(1.0, 1.0)])
def test_the_loss_is_torchs_of_probabilities(rows, mix, monkeypatch) -> None:
    loss, logits, targets = loss_of(rows, mix, monkeypatch)
    torch.testing.assert_close(targets.sum(1), torch.ones(8))
    smooth = 0.9 * targets + 0.1 / 4
    by_hand = -(smooth * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(loss, by_hand)
    torch.testing.assert_close(loss, F.cross_entropy(logits, smooth))


def test_the_loss_of_an_image_is_that_of_both_classes_in_their_shares(rows, monkeypatch) -> None:
    loss, logits, _ = loss_of([rows[0], rows[2]], NoMix(), monkeypatch, "replace", 0.0)
    losses = [F.cross_entropy(logits, torch.full((8,), label)) for label in (0, 2)]
    torch.testing.assert_close(loss, (1 - SHARE) * losses[0] + SHARE * losses[1])


def test_verdicts_weigh_images_of_two_classes(rows, monkeypatch) -> None:
    loss, logits, targets = loss_of(rows, NoMix(), monkeypatch, "verdict", 0.0)
    weights = targets.sum(1)
    assert sorted(set(weights.tolist())) == [0.25, 0.5, 1.0]
    losses = -(targets * logits.log_softmax(1)).sum(1)
    torch.testing.assert_close(loss, losses.sum() / weights.sum())


def test_moments_are_exchanged_with_both_shares(rows) -> None:
    from timm import create_model

    network = create_model("test_resnet", num_classes=4).train()
    images = torch.rand(4, 3, 32, 32)
    with seeded(0):
        _, targets = MoEx(0.75, 1.0, 1e-5)(network, images, EXPECTED)
    with seeded(0):
        order = torch.randperm(4)
    torch.testing.assert_close(targets, 0.75 * EXPECTED + 0.25 * EXPECTED[order])
