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


VALIDATIONS = 10  # in a training whose `val_every` a message proposes


@component
class Recipe(Component):
    """Values of one training.

    Attributes:
        optimizer: "sgd" (Nesterov), "adamw" (both torch's), or another name of `timm.optim`.
        lr: Highest learning rate; from 0 up to it over the warm-up, then as `schedule` says.
        momentum: Momentum of SGD and its like; AdamW's first beta. Other betas are timm's.
        weight_decay: Weight decay of matrices and kernels; norms and biases have none.
        budget: "steps" (all arms take `steps` optimiser steps) or "epochs" (each arm goes `epochs`
            times through its own images: twice the images, twice the steps).
        steps: Optimiser steps, the same for all arms.
        epochs: Passes over the training images, for budget "epochs"; else None.
        batch_size: Images a step, of all devices together.
        warmup_steps: How many of `steps` are warm-up.
        val_every: Steps between validations; divides `steps`. With budget "epochs" it is one pass.
        patience: Validations without a better accuracy after which the training ends; None: never.
        precision: Lightning's name.
        schedule: Course of the learning rate after the warm-up.
        layer_decay: Factor of the learning rate from a layer to the one before it; 1 is the same
            for all.
        ema_decay: Decay of the moving average of weights and buffers, which is what is kept; after
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
        if self.steps % self.val_every or self.warmup_steps >= self.steps:
            most = -(-self.steps // VALIDATIONS)
            every = max(n for n in range(1, most + 1) if self.steps % n == 0)
            rule = (
                f"a multiple of classifier.val_every ({self.val_every}) and more than "
                f"classifier.warmup_steps ({self.warmup_steps})"
            )
            fix = (
                f"such as classifier.steps={self.steps} classifier.val_every={every} "
                f"classifier.warmup_steps={self.steps // VALIDATIONS}"
            )
            raise refuse("steps", rule, self.steps, fix)
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
        require_batch(self.tuning.apply(network), backbone.input_size, self.batch_size)


def require_batch(network: "nn.Module", input_size: int, batch_size: int) -> None:
    """Check that a network can be trained on batches of one image, if they are of one.

    Args:
        network: The network to train; it is not changed.
        input_size: Side of the images, px.
        batch_size: Images a step on one device.

    Raises:
        UserError: It cannot: its BatchNorm would have one value a channel.
    """
    if batch_size > 1:
        return
    import copy

    import torch

    from sip.core.hashing import seeded

    device = next(network.parameters()).device
    with seeded(0, device), torch.no_grad():
        try:
            copy.deepcopy(network).train()(torch.zeros(1, 3, input_size, input_size, device=device))
        except ValueError as error:  # "Expected more than 1 value per channel when training"
            rule = "at least 2 images a device for a network with BatchNorm"
            raise refuse(
                "classifier.batch_size",
                rule,
                batch_size,
                "its statistics need more than one value a channel",
            ) from error


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
