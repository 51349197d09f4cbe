"""LoRA (Hu et al., ICLR 2022, arXiv 2106.09685) by peft (Apache-2.0): low-rank updates and a head.

To the frozen weight W of each target, (alpha / rank) B A is added, with A random and B zero at the
start; the head is trained as it is. BatchNorm, dropout and stochastic depth of the backbone stay in
evaluation mode. The checkpoint is merged: a plain state of the backbone, without adapters.
"""

import copy
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from timm.models.convnext import ConvNeXt
from timm.models.resnet import ResNet
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from sip.classifier.tuning.probe import require_pretrained
from sip.core.errors import UserError

if TYPE_CHECKING:
    from sip.backbone.base import Backbone

# By type: a pattern of the full names of the adapted layers. For ViT attention's, which is the
# paper's place; for ConvNets ours: what mixes channels between the residual connections.
TARGETS: dict[type[nn.Module], str] = {
    VisionTransformer: r".*\.attn\.(qkv|proj)",
    ConvNeXt: r".*\.mlp\.fc[12]",
    ResNet: r"layer\d+\..*conv\d",
}


class Adapted(nn.Module):
    """peft's wrapper of a network, frozen but for adapters and head."""

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

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the logits (B, num_classes) of pictures (B, 3, H, W)."""
        return self.model(pictures)


class LoRA:
    """Trains low-rank updates of some layers, and the head.

    Args:
        rank: Of the updates.
        alpha: An update is scaled by alpha / rank.
        dropout: On what goes into A while training, in [0, 1).
        targets: Ends of the names of the adapted layers, such as [attn.qkv, mlp.fc1]; None for
            what `TARGETS` states for the network's type.

    Raises:
        UserError: A value is out of its range.
    """

    frozen = False

    def __init__(
        self, rank: int, alpha: float, dropout: float, targets: Sequence[str] | None
    ) -> None:
        if type(rank) is not int or rank < 1:
            raise UserError(f"classifier.tuning.rank: expected 1 or more, got {rank!r}")
        if not 0 <= dropout < 1:
            raise UserError(f"classifier.tuning.dropout: expected 0 to below 1, got {dropout!r}")
        if isinstance(targets, str) or (targets is not None and not targets):
            raise UserError(
                "classifier.tuning.targets: expected null or a list of ends of names, such as "
                f"[attn.qkv,attn.proj], got {targets!r}"
            )
        self.rank, self.alpha, self.dropout = rank, alpha, dropout
        self.targets = None if targets is None else list(targets)

    def recipe(self) -> dict | None:
        """Return everything that decides what is trained."""
        return {
            "class": "sip.classifier.tuning.lora.LoRA",
            "version": 1,
            "rank": self.rank,
            "alpha": self.alpha,
            "dropout": self.dropout,
            "targets": self.targets,
        }

    def check(self, backbone: "Backbone") -> None:
        """Refuse a backbone from scratch, and an environment without peft.

        Raises:
            UserError: As said.
        """
        require_pretrained("lora", backbone)
        if find_spec("peft") is None:
            raise UserError(
                "classifier/tuning=lora: needs the package peft; get it with: "
                "pip install 'sip-augmentation[lora]'"
            )

    def apply(self, network: Any) -> nn.Module:
        """Return the network with adapters.

        Raises:
            UserError: The targets match none of its layers, or one that has no adapter.
        """
        from peft import LoraConfig, get_peft_model

        targets = self._targets(network)
        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,  # type: ignore[arg-type]  # any number will do
            lora_dropout=self.dropout,
            target_modules=targets,
            modules_to_save=[network.pretrained_cfg["classifier"]],
        )
        try:
            return Adapted(get_peft_model(network, config))
        except ValueError as error:
            raise self._refusal(network, str(error)) from error

    def _targets(self, network: nn.Module) -> str | list[str]:
        """Return what peft takes: a pattern of full names, or ends of names."""
        if self.targets is not None:
            return self.targets
        for kind, pattern in TARGETS.items():
            if isinstance(network, kind):
                return pattern
        raise self._refusal(network, "no layers are known for this type of network")

    def _refusal(self, network: nn.Module, reason: str) -> UserError:
        """Return an error that names some layers that could be meant."""
        kinds = (nn.Linear, nn.Conv2d)
        names = [name for name, part in network.named_modules() if isinstance(part, kinds)]
        return UserError(
            f"classifier.tuning.targets: {_short(reason)}; expected ends of names of a "
            f"{type(network).__name__}'s layers, such as "
            f"{', '.join(names[len(names) // 2 :][:4])}; got {self.targets}"
        )

    def weights(self, network: nn.Module) -> dict[str, Tensor]:
        """Return the state of the merged network; the adapted one stays as it is."""
        return self._merged(network).state_dict()

    def load(self, network: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
        """Return the merged network with this state."""
        merged = self._merged(network)
        merged.load_state_dict(weights)
        return merged

    def _merged(self, network: nn.Module) -> nn.Module:
        assert isinstance(network, Adapted)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft's: on merging at all
            return copy.deepcopy(network.model).merge_and_unload()


def _short(reason: str) -> str:
    """Return the first sentence of a message, without its full stop."""
    return " ".join(reason.split()).split(". ")[0].rstrip(".")
