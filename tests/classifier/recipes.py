"""Recipes for tests: short ones, whose values a test changes by name."""

from typing import Any

from sip.classifier.recipe import Recipe
from sip.classifier.schedule.cosine import Cosine
from sip.classifier.tuning.full import Full


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
        "schedule": Cosine(),
        "layer_decay": 1.0,
        "ema_decay": None,
        "gradient_clip": None,
        "tuning": Full(),
    }
    return Recipe(**{**values, **changed})
