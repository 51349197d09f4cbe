"""The optimiser and its schedule by steps: torch's SGD and AdamW, all else by timm (Apache-2.0)."""

from collections.abc import Collection
from typing import Any

import torch
from timm.optim import (
    create_optimizer_v2,
    param_groups_layer_decay,
    param_groups_weight_decay,
)
from torch import nn
from torch.optim.lr_scheduler import LinearLR, LRScheduler, SequentialLR

from sip.classifier.recipe import Recipe, require_layers


def make_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the optimiser of those parameters that have a gradient."""
    groups = make_groups(network, recipe)
    # Lightning clips in mixed precision only if the optimiser leaves the scaling to it.
    fused = recipe.gradient_clip is None or recipe.precision == "32-true"
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            groups, recipe.lr, momentum=recipe.momentum, nesterov=True, fused=fused
        )
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, recipe.lr, betas=(recipe.momentum, 0.999), fused=fused)
    return create_optimizer_v2(groups, recipe.optimizer, recipe.lr, momentum=recipe.momentum)


def make_groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Return the groups of parameters: with and without weight decay, by layer if asked for.

    The first group has the full learning rate, which the curves show.
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


def make_scheduler(optimizer: torch.optim.Optimizer, recipe: Recipe) -> LRScheduler:
    """Return what sets the learning rate before each step: linear up, then the schedule."""
    warmup = recipe.warmup_steps
    after = recipe.schedule.scheduler(optimizer, recipe.steps - warmup)
    if not warmup:
        return after
    up = LinearLR(optimizer, 1 / (warmup + 1), total_iters=warmup)
    return SequentialLR(optimizer, [up, after], [warmup])
