"""Weights of images in the loss: the weighted mean, with smoothing and mixing."""

import pytest
import torch
from torch.nn import functional as F

from sip.augmentation.mix.cutmix import CutMix
from sip.augmentation.mix.none import NoMix
from sip.classifier.module import Classifier, weighted_cross_entropy
from tests.classifier.recipes import recipe

RECIPE = recipe(optimizer="sgd", lr=0.1, steps=2, warmup_steps=0, val_every=1)
LABELS = torch.tensor([0, 2, 1, 0])
WEIGHTS = torch.tensor([1.0, 0.5, 0.25, 1.0])
IMAGES = torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8, generator=torch.manual_seed(0))


def loss_of(mix, batch, monkeypatch) -> torch.Tensor:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3))
    grey = (0.5, 0.5, 0.5)
    module = Classifier(network, RECIPE, mix, 3, grey, grey, 0, 1)
    monkeypatch.setattr(module, "log", lambda *_, **__: None)
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    monkeypatch.setattr(module, "optimizers", lambda: optimizer)
    return module.training_step(batch, 0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_it_is_the_weighted_mean_of_the_images_losses(smoothing: float) -> None:
    logits = torch.randn(4, 3)
    losses = F.cross_entropy(logits, LABELS, label_smoothing=smoothing, reduction="none")
    targets = torch.eye(3)[LABELS] * WEIGHTS[:, None]
    expected = sum(w * loss for w, loss in zip(WEIGHTS, losses, strict=True)) / WEIGHTS.sum()
    torch.testing.assert_close(weighted_cross_entropy(logits, targets, smoothing), expected)


@pytest.mark.parametrize("mix", [NoMix(), CutMix(1.0, 1.0)])
def test_weights_of_one_are_no_weights(mix, monkeypatch) -> None:
    plain = loss_of(mix, (IMAGES, LABELS), monkeypatch)
    torch.testing.assert_close(loss_of(mix, (IMAGES, LABELS, torch.ones(4)), monkeypatch), plain)
    assert loss_of(mix, (IMAGES, LABELS, WEIGHTS), monkeypatch) != plain


def test_a_light_image_counts_for_little(monkeypatch) -> None:
    weights = torch.tensor([1.0, 1e-6, 1.0, 1.0])
    rest = torch.tensor([0, 2, 3])
    without = loss_of(NoMix(), (IMAGES[rest], LABELS[rest]), monkeypatch)
    torch.testing.assert_close(
        loss_of(NoMix(), (IMAGES, LABELS, weights), monkeypatch), without, atol=1e-4, rtol=1e-4
    )
