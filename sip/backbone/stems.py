"""Stems of ResNets for small images: a 3x3 convolution, pooled or not.

timm's own stem (7x7 with stride 2, then a max-pool) is made for 224 px and leaves 8x8 of 32x32 px.

A trained network is stored so that timm loads it. A 3x3 convolution with stride 2 is a 7x7 one with
zeros around it, so `3x3_s2_pool` becomes timm's own stem. timm's ResNets have no argument
for the other two: importing this module registers them, such as `resnet18_3x3_s1`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import timm
import torch
from timm.models import load_pretrained, register_model
from torch import Tensor, nn
from torch.nn.functional import pad

from sip.core.component import refuse

KERNEL = "conv1.weight"  # of a ResNet's state
MARGIN = 2  # px on each side, from a 3x3 kernel to a 7x7 one


@dataclass(frozen=True)
class Stem:
    """A 3x3 convolution.

    Attributes:
        stride: Stride of the convolution.
        pool: Keep the max-pool with stride 2 behind it.
    """

    stride: int
    pool: bool


POOLED = "3x3_s2_pool"
STEMS = {
    "3x3_s1": Stem(stride=1, pool=False),
    "3x3_s2": Stem(stride=2, pool=False),
    POOLED: Stem(stride=2, pool=True),
}


def replace_stem(model: nn.Module, stem: str) -> None:
    """Put a stem of `STEMS` in the place of a ResNet's own, freshly initialised as timm does.

    Raises:
        UserError: The model has no single convolution and max-pool to replace.
    """
    conv = getattr(model, "conv1", None)
    if not isinstance(conv, nn.Conv2d) or not isinstance(
        getattr(model, "maxpool", None), nn.Module
    ):
        kind = type(model).__name__
        raise refuse("backbone.stem", f"null for a {kind}, which is no ResNet with a stem", stem)
    new = STEMS[stem]
    model.conv1 = nn.Conv2d(3, conv.out_channels, 3, new.stride, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    if not new.pool:
        model.maxpool = nn.Identity()
    model.sip_stem = stem  # type: ignore[assignment]  # plain text; no module


def stem_of(model: nn.Module) -> str | None:
    """Return the stem that a network got by `replace_stem`; None for its own."""
    return getattr(model, "sip_stem", None)


def stored_name(architecture: str, stem: str | None) -> str:
    """Return the name under which timm creates a network that can hold the stored weights."""
    return architecture if stem in (None, POOLED) else f"{architecture}_{stem}"


def stored_weights(weights: dict[str, Tensor], stem: str | None) -> dict[str, Tensor]:
    """Return a network's state as that of the network with the stored name."""
    if stem != POOLED:
        return weights
    return {**weights, KERNEL: pad(weights[KERNEL], [MARGIN] * 4)}


def restore_stem(model: nn.Module, stem: str | None) -> None:
    """Turn a loaded network into the one that was trained; inverse of `stored_weights`."""
    if stem != POOLED:
        return
    kernel = model.get_parameter(KERNEL)[:, :, MARGIN:-MARGIN, MARGIN:-MARGIN]
    replace_stem(model, stem)
    with torch.no_grad():
        model.get_parameter(KERNEL).copy_(kernel)


def _entry_point(architecture: str, stem: str) -> Callable[..., nn.Module]:
    def create(
        pretrained: bool = False,
        pretrained_cfg: Any = None,
        cache_dir: Any = None,
        **options: Any,
    ) -> nn.Module:
        model = timm.create_model(architecture, pretrained_cfg=pretrained_cfg, **options)
        replace_stem(model, stem)
        if pretrained:
            load_pretrained(model, num_classes=model.num_classes, cache_dir=cache_dir)
        return model

    create.__name__ = stored_name(architecture, stem)
    return create


for _architecture in timm.list_models(module="resnet"):
    for _stem in (name for name in STEMS if name != POOLED):
        register_model(_entry_point(_architecture, _stem))
