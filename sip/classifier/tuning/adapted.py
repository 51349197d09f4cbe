"""The network of LoRA: peft's adapters in a frozen backbone, and the layers that get one."""

from typing import Any

from timm.models.convnext import ConvNeXt
from timm.models.resnet import ResNet
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

# By type: a pattern of the full names of the adapted layers. For ViT attention's, which is the
# paper's place; for ConvNets ours: what mixes channels between the residual connections.
TARGETS: dict[type[nn.Module], str] = {
    VisionTransformer: r".*\.attn\.(qkv|proj)",
    ConvNeXt: r".*\.mlp\.fc[12]",
    ResNet: r"layer\d+\..*conv\d",
}


class Adapted(nn.Module):
    """peft's wrapper of a network, frozen except for adapters and head."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.train()

    def train(self, mode: bool = True) -> "Adapted":
        """Set the mode of the adapters' dropout; everything of the backbone stays in evaluation."""
        super().train(mode)
        self.model.eval()
        for name, module in self.model.named_modules():
            if name.rpartition(".")[2] == "lora_dropout":
                module.train(mode)
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, num_classes) of images (B, 3, H, W)."""
        return self.model(images)


def target_of(network: nn.Module) -> str | None:
    """Return the pattern of the adapted layers of a network; None if none is known."""
    for kind, pattern in TARGETS.items():
        if isinstance(network, kind):
            return pattern
    return None


def layer_names(network: nn.Module) -> list[str]:
    """Return names of layers that can be adapted, from the middle of a network."""
    kinds = (nn.Linear, nn.Conv2d)
    names = [name for name, part in network.named_modules() if isinstance(part, kinds)]
    return names[len(names) // 2 :][:4]
