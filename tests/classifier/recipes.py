"""Recipes and parts of arms for tests: short ones, whose values a test changes by name."""

from typing import Any

from sip.augmentation.base import Augmentation
from sip.augmentation.mix.none import NoMix
from sip.augmentation.offline.none import NoGenerated
from sip.augmentation.sample.none import AsIs
from sip.augmentation.sample.torchvision import TorchvisionTransform
from sip.classifier.recipe import Recipe
from sip.classifier.schedule import CosineRate
from sip.classifier.tuning.full import Full

PLAIN = Augmentation(NoGenerated(), AsIs(), NoMix())
RANDAUGMENT = TorchvisionTransform("RandAugment", {"num_ops": 2, "magnitude": 9, "fill": 0})


def recipe(**changed: Any) -> Recipe:
    """Return a plain recipe of 12 steps with some values changed."""
    values: dict[str, Any] = {
        "optimizer": "adamw",
        "lr": 0.01,
        "momentum": 0.9,
        "weight_decay": 0.01,
        "budget": "steps",
        "steps": 12,
        "epochs": None,
        "batch_size": 8,
        "warmup_steps": 2,
        "label_smoothing": 0.1,
        "val_every": 3,
        "patience": None,
        "precision": "32-true",
        "schedule": CosineRate(),
        "layer_decay": 1.0,
        "ema_decay": None,
        "gradient_clip": None,
        "tuning": Full(),
    }
    return Recipe(**{**values, **changed})
