"""The optimiser and its schedule by steps: torch's SGD and AdamW, all else by timm (Apache-2.0)."""

from collections.abc import Collection
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from timm.optim import (
    create_optimizer_v2,
    list_optimizers,
    param_groups_layer_decay,
    param_groups_weight_decay,
)
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from sip.classifier.schedule.base import share
from sip.core.errors import UserError

if TYPE_CHECKING:
    from sip.classifier.recipe import Recipe


@cache
def known_optimizers() -> tuple[str, ...]:
    """Return the names of all optimisers."""
    return tuple(list_optimizers())


def make_optimizer(network: nn.Module, recipe: "Recipe") -> torch.optim.Optimizer:
    """Return the optimiser of those parameters that have a gradient."""
    groups = make_groups(network, recipe)
    # Lightning clips in mixed precision only where the optimiser leaves the scaling to it.
    fused = recipe.gradient_clip is None or recipe.precision == "32-true"
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            groups, recipe.lr, momentum=recipe.momentum, nesterov=True, fused=fused
        )
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, recipe.lr, betas=(recipe.momentum, 0.999), fused=fused)
    return create_optimizer_v2(groups, recipe.optimizer, recipe.lr, momentum=recipe.momentum)


def make_groups(network: nn.Module, recipe: "Recipe") -> list[dict[str, Any]]:
    """Return the groups of parameters: with and without weight decay, by layer if so asked.

    The first group has the whole learning rate, so that curves show that one.
    """
    undecayed: Collection[str] = getattr(network, "no_weight_decay", tuple)()
    if recipe.layer_decay == 1:
        return param_groups_weight_decay(
            network, recipe.weight_decay, no_weight_decay_list=tuple(undecayed)
        )
    require_layers(network)
    groups = param_groups_layer_decay(
        network, recipe.weight_decay, tuple(undecayed), layer_decay=recipe.layer_decay
    )
    groups.sort(key=lambda group: -group["lr_scale"])
    for group in groups:  # into the rate itself: torch's schedulers know no other place
        group["lr"] = recipe.lr * group.pop("lr_scale")
    return groups


def require_layers(network: nn.Module) -> None:
    """Check that timm knows the order of a network's layers.

    Raises:
        UserError: It does not, and would guess.
    """
    if not callable(getattr(network, "group_matcher", None)):
        raise UserError(
            f"classifier.layer_decay: timm knows no order of layers (group_matcher) of a "
            f"{type(network).__name__}; set classifier.layer_decay=1"
        )


def make_scheduler(optimizer: torch.optim.Optimizer, recipe: "Recipe") -> LambdaLR:
    """Return what sets the learning rate before each step."""
    return LambdaLR(
        optimizer, lambda step: share(recipe.schedule, step, recipe.steps, recipe.warmup_steps)
    )
