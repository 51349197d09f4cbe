"""The exchange of moments inside of a network, by a hook: no copy of any backbone's code.

Place: Li et al. exchange after the stem. Their code (github.com/Boyiliee/MoEx, MIT) has it after
the max-pool of ResNet and after `pool0` of DenseNet (ImageNet), and after the first convolution and
norm of a PyramidNet for CIFAR. So here:

- ResNet and its like: after `maxpool`, also if a stem for small images makes that a no-op
- DenseNet: after `features.pool0`
- ConvNeXt: after `stem`. Ours: the paper has no ConvNeXt, but it is the same place.
- ViT, DeiT, DINOv2: the patch tokens after `patch_embed`, before positions and class token are
  added. **Ours**: no definition was published; the channels of a token are a pixel's channels.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from timm.models.convnext import ConvNeXt
from timm.models.densenet import DenseNet
from timm.models.resnet import ResNet
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from sip.core.errors import UserError

# By type: the module whose output is exchanged, and the dimension of its channels.
PLACES: dict[type[nn.Module], tuple[str, int]] = {
    ResNet: ("maxpool", 1),
    DenseNet: ("features.pool0", 1),
    ConvNeXt: ("stem", 1),
    VisionTransformer: ("patch_embed", -1),
}


def place(network: nn.Module) -> tuple[nn.Module, int]:
    """Return the module whose output is exchanged, and the dimension of its channels.

    Wrappers around a model of timm (peft's, compiled ones) are looked into.

    Raises:
        UserError: No place is known for this network.
    """
    for module in network.modules():
        for kind, (name, dim) in PLACES.items():
            if isinstance(module, kind):
                return module.get_submodule(name), dim
    known = ", ".join(sorted(kind.__name__ for kind in PLACES))
    raise UserError(
        f"augmentation.mix: moex needs a backbone whose place after the stem it knows (timm's "
        f"{known}), got a {type(network).__name__}; choose another backbone, another mix, or add "
        "the place to PLACES in sip/augmentation/mix/moments.py"
    )


def exchange(features: Tensor, order: Tensor, dim: int, epsilon: float) -> Tensor:
    """Return features with moments of other images: sigma_b (h_a - mu_a) / sigma_a + mu_b.

    Mean and standard deviation are over the channels, one pair a position (PONO: Li et al.,
    NeurIPS 2019, arXiv 1907.04312); the variance is the unbiased one, as in the authors' code.
    Gradients flow through both images' moments. Computed in float32, as there.

    Args:
        features: (B, ...), any floating type.
        order: (B,), int64, whose moments each one gets.
        dim: The dimension that holds the channels.
        epsilon: Added to the variance.
    """
    exact = features.float()
    mean = exact.mean(dim, keepdim=True)
    std = exact.var(dim, keepdim=True).add(epsilon).sqrt()
    scale = std[order] / std
    return (exact * scale + (mean[order] - mean * scale)).to(features.dtype)


@contextmanager
def exchanged(network: nn.Module, order: Tensor, epsilon: float) -> Iterator[None]:
    """Let forward passes inside exchange moments.

    Args:
        order: (B,), int64, whose moments each image gets.

    Raises:
        UserError: As `place`.
    """
    module, dim = place(network)

    def hook(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return exchange(output, order, dim, epsilon)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
