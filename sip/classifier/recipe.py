"""How a classifier is trained: one recipe and one budget of steps for all arms of a backbone."""

from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from sip.backbone.base import Backbone
from sip.classifier.schedule import RateSchedule
from sip.classifier.tuning.base import Tuning
from sip.core.component import Component, Part, component, refuse
from sip.core.errors import UserError
from sip.core.ranges import Count, NotNegative, Positive, Rate, Share

if TYPE_CHECKING:
    from torch import nn


@component
class Recipe(Component):
    """Values of one training.

    Attributes:
        optimizer: "sgd" (Nesterov), "adamw" (both torch's), or another name of `timm.optim`.
        lr: Highest learning rate; from 0 up to it over the warm-up, then as `schedule` says.
        momentum: Of SGD and its like; AdamW's first beta. Other betas are timm's.
        weight_decay: Of matrices and kernels; norms and biases have none.
        budget: "steps" (all arms take `steps` optimiser steps) or "epochs" (each arm goes `epochs`
            times through its own images: twice the images, twice the steps).
        steps: Optimiser steps, the same for all arms.
        epochs: Passes over the training images, for budget "epochs"; else None.
        batch_size: Images a step, of all devices together.
        warmup_steps: Of `steps`.
        val_every: Steps between validations; divides `steps`. With budget "epochs" it is one pass.
        patience: Validations without a better accuracy after which the training ends; None: never.
        precision: Lightning's name.
        schedule: Of the learning rate after the warm-up.
        layer_decay: Factor of the learning rate from a layer to the one before it; 1 is the same
            for all.
        ema_decay: Of the moving average of weights and buffers, which is evaluated and kept; after
            step t at most 1 - t^(-2/3), as timm warms it up. None: no average.
        gradient_clip: Highest L2 norm of all gradients together; None: any.
        tuning: Which weights are trained.
    """

    optimizer: str
    lr: Positive
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: NotNegative
    budget: Literal["steps", "epochs"]
    steps: Count
    epochs: Count | None
    batch_size: Count
    warmup_steps: Annotated[int, Field(ge=0)]
    label_smoothing: Share
    val_every: Count
    patience: Count | None
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]
    schedule: Part[RateSchedule]
    layer_decay: Rate
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None
    gradient_clip: Positive | None
    tuning: Part[Tuning]

    def __post_init__(self) -> None:
        if (self.budget == "epochs") != (self.epochs is not None):
            rule = "a whole number >= 1 with classifier.budget=epochs, null with "
            rule += "classifier.budget=steps"
            raise refuse("epochs", rule, self.epochs, f"the budget is {self.budget}")
        if self.steps % self.val_every:
            rule = f"a multiple of classifier.val_every ({self.val_every})"
            raise refuse("steps", rule, self.steps, "so that the last step is validated")
        if self.warmup_steps >= self.steps:
            rule = f"less than classifier.steps ({self.steps})"
            raise refuse("warmup_steps", rule, self.warmup_steps)
        if self.layer_decay != 1 and not self.tuning.trains_all:
            rule = "1 if not all layers are trained"
            fix = "set it to 1, or classifier/tuning=full"
            raise refuse("layer_decay", rule, self.layer_decay, fix)

    def resolved(self, pass_length: int) -> "Recipe":
        """Return the recipe in steps: with budget "epochs", passes of so many images.

        The last batch of a pass is filled up from the next one; the warm-up keeps its share.
        """
        if self.epochs is None:
            return self
        every = -(-pass_length // self.batch_size)
        steps = self.epochs * every
        warmup = min(round(self.warmup_steps / self.steps * steps), steps - 1)
        return replace(
            self, budget="steps", epochs=None, steps=steps, val_every=every, warmup_steps=warmup
        )

    def check(self, backbone: Backbone) -> None:
        """Check what needs no network, before any costly work.

        Raises:
            UserError: There is no such optimiser, or the tuning does not fit the backbone.
        """
        from timm.optim import list_optimizers

        if self.optimizer not in (known := list_optimizers()):
            near = get_close_matches(self.optimizer, known)
            rule = "sgd, adamw or another of timm.optim"
            fix = f"near names: {', '.join(near) or 'none'}"
            raise refuse("classifier.optimizer", rule, self.optimizer, fix)
        self.tuning.check(backbone)

    def require(self, backbone: Backbone, network: "nn.Module") -> None:
        """Check that a network can be trained like this, before any costly work.

        Args:
            network: One of the backbone's; it is not to be used after that.

        Raises:
            UserError: It cannot.
        """
        self.check(backbone)
        if self.layer_decay != 1:
            require_layers(network)
        self.tuning.apply(network)


def require_layers(network: "nn.Module") -> None:
    """Check that timm knows the order of a network's layers.

    Raises:
        UserError: It does not, and would guess.
    """
    if not callable(getattr(network, "group_matcher", None)):
        raise UserError(
            f"classifier.layer_decay: must be 1 for a {type(network).__name__}, whose order of "
            "layers timm does not know (group_matcher); set classifier.layer_decay=1"
        )
