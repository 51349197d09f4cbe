"""How a classifier is trained: one recipe and one budget of steps for all arms of a backbone."""

import math
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches

from torch import nn

from sip.backbone.base import Backbone
from sip.classifier.optimizers import known_optimizers, require_layers
from sip.classifier.schedule.base import Schedule
from sip.classifier.schedule.cosine import Cosine
from sip.classifier.tuning.base import Tuning
from sip.classifier.tuning.full import Full
from sip.core.errors import UserError

BUDGETS = ("steps", "epochs")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
# What came later is left out of a recipe at these values, so that older runs are found again.
NEUTRAL = {
    "budget": "steps",
    "epochs": None,
    "patience": None,
    "layer_decay": 1.0,
    "ema_decay": None,
    "gradient_clip": None,
}


@dataclass(frozen=True)
class Recipe:
    """Values of one training.

    Attributes:
        optimizer: "sgd" (Nesterov), "adamw" (both torch's), or another name of `timm.optim`.
        lr: Highest learning rate; from 0 up to it over the warm-up, then as `schedule` says.
        momentum: Of SGD and its like; AdamW's first beta. Other betas are timm's.
        weight_decay: Of matrices and kernels; norms and biases have none.
        budget: "steps" (all arms take `steps` optimiser steps) or "epochs" (each arm goes `epochs`
            times through its own pictures: twice the pictures, twice the steps).
        steps: Optimiser steps, the same for all arms.
        epochs: Passes over the training pictures, for budget "epochs"; else None.
        batch_size: Pictures a step, of all devices together.
        warmup_steps: Of `steps`.
        label_smoothing: In [0, 1].
        val_every: Steps between validations; divides `steps`. With budget "epochs" it is one pass.
        patience: Validations without a better accuracy after which the training ends; None: never.
        precision: Lightning's name: "32-true", "bf16-mixed" or "16-mixed".
        schedule: Of the learning rate after the warm-up.
        layer_decay: Factor of the learning rate from a layer to the one before it, in (0, 1]; 1 is
            the same for all.
        ema_decay: Of the moving average of weights and buffers, in (0, 1), which is evaluated and
            kept; after step t at most 1 - t^(-2/3), as timm warms it up. None: no average.
        gradient_clip: Highest L2 norm of all gradients together; None: any.
        tuning: Which weights are trained.
    """

    optimizer: str
    lr: float
    momentum: float
    weight_decay: float
    budget: str
    steps: int
    epochs: int | None
    batch_size: int
    warmup_steps: int
    label_smoothing: float
    val_every: int
    patience: int | None
    precision: str
    schedule: Schedule
    layer_decay: float
    ema_decay: float | None
    gradient_clip: float | None
    tuning: Tuning

    def __post_init__(self) -> None:
        """Check what would fail late or change the budget in silence.

        Raises:
            UserError: A value is out of its range.
        """
        for name, value, choices in (
            ("precision", self.precision, PRECISIONS),
            ("budget", self.budget, BUDGETS),
        ):
            if value not in choices:
                raise UserError(f"classifier.{name}: expected one of {choices}, got {value!r}")
        if self.optimizer not in (known := known_optimizers()):
            near = get_close_matches(self.optimizer, known)
            raise UserError(
                f"classifier.optimizer: expected sgd, adamw or another of timm.optim, got "
                f"{self.optimizer!r}; near names: {', '.join(near) or 'none'}"
            )
        self._check_numbers()
        self._check_budget()
        if self.steps < 1 or self.val_every < 1 or self.steps % self.val_every:
            raise UserError(
                f"classifier.steps: expected a multiple of classifier.val_every "
                f"({self.val_every}), so that the last step is validated, got {self.steps}"
            )
        if not 0 <= self.warmup_steps < self.steps:
            raise UserError(
                f"classifier.warmup_steps: expected 0 to {self.steps - 1} (less than "
                f"classifier.steps), got {self.warmup_steps}"
            )
        self._check_later_values()

    def _check_numbers(self) -> None:
        for name, expected, fits in (
            ("lr", "above 0", lambda value: 0 < value < math.inf),
            ("momentum", "from 0 to below 1", lambda value: 0 <= value < 1),
            ("weight_decay", "0 or above", lambda value: 0 <= value < math.inf),
            ("label_smoothing", "from 0 to 1", lambda value: 0 <= value <= 1),
        ):
            value = getattr(self, name)
            if type(value) not in (int, float) or not fits(value):
                raise UserError(f"classifier.{name}: expected a number {expected}, got {value!r}")
        for name in ("steps", "val_every", "warmup_steps", "batch_size"):
            value = getattr(self, name)
            if type(value) is not int or value < 0 or (value == 0 and name == "batch_size"):
                raise UserError(f"classifier.{name}: expected a number of {name}, got {value!r}")

    def _check_later_values(self) -> None:
        for name in ("schedule", "tuning"):
            if isinstance(given := getattr(self, name), str):
                raise UserError(
                    f"classifier.{name}: expected a choice with a slash, "
                    f"classifier/{name}={given}, came classifier.{name}={given}"
                )
        if not 0 < self.layer_decay <= 1:
            raise UserError(
                f"classifier.layer_decay: expected above 0 to 1 (none), got {self.layer_decay}"
            )
        if self.layer_decay != 1 and self.tuning.recipe() is not None:
            raise UserError(
                f"classifier.layer_decay: expected 1 where not all layers are trained, got "
                f"{self.layer_decay}; set it to 1 or classifier/tuning=full"
            )
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise UserError(
                f"classifier.ema_decay: expected null or between 0 and 1, got {self.ema_decay}"
            )
        if self.gradient_clip is not None and not self.gradient_clip > 0:
            raise UserError(
                f"classifier.gradient_clip: expected null or above 0, got {self.gradient_clip}"
            )

    def _check_budget(self) -> None:
        """Check how long the training may take.

        Raises:
            UserError: `epochs` is missing, or stands beside a budget of steps.
        """
        whole = type(self.epochs) is int and self.epochs >= 1
        if (self.budget == "epochs") != whole or (self.epochs is not None and not whole):
            raise UserError(
                "classifier.epochs: expected a number >= 1 with classifier.budget=epochs and null "
                f"with budget=steps, got {self.epochs} with {self.budget}"
            )
        if self.patience is not None and (type(self.patience) is not int or self.patience < 1):
            raise UserError(
                f"classifier.patience: expected null or validations >= 1, got {self.patience}"
            )

    def resolved(self, pass_length: int) -> "Recipe":
        """Return the recipe in steps: with budget "epochs", passes of so many pictures.

        The last batch of a pass is filled up from the next one; the warm-up keeps its share.
        """
        if self.budget == "steps":
            return self
        assert self.epochs is not None
        every = -(-pass_length // self.batch_size)
        steps = self.epochs * every
        warmup = min(round(self.warmup_steps / self.steps * steps), steps - 1)
        return replace(
            self, budget="steps", epochs=None, steps=steps, val_every=every, warmup_steps=warmup
        )

    def recipe(self) -> dict:
        """Return everything that decides the training but the pictures and the network."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        schedule, tuning = values.pop("schedule"), values.pop("tuning")
        values = {k: v for k, v in values.items() if k not in NEUTRAL or v != NEUTRAL[k]}
        if not isinstance(schedule, Cosine):
            values["schedule"] = schedule.recipe()
        if not isinstance(tuning, Full):
            values["tuning"] = tuning.recipe()
        return {"class": "sip.classifier.recipe.Recipe", "version": 1, **values}

    def require(self, backbone: Backbone, network: nn.Module) -> None:
        """Check that a network can be trained like this, before any costly work.

        Args:
            network: One of the backbone's; it is not to be used after that.

        Raises:
            UserError: It cannot.
        """
        if self.layer_decay != 1:
            require_layers(network)
        self.tuning.check(backbone)
        self.tuning.apply(network)
