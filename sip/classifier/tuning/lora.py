"""LoRA (Hu et al., ICLR 2022, arXiv 2106.09685) by peft (Apache-2.0): low-rank updates and a head.

To the frozen weight W of each target, (alpha / rank) B A is added, with A random and B zero at the
start; the head is trained as it is. BatchNorm, dropout and stochastic depth of the backbone stay in
evaluation mode. The checkpoint is merged: a plain state of the backbone, without adapters.
"""

import copy
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from sip.classifier.tuning.probe import require_pretrained
from sip.core.component import Component, component
from sip.core.errors import UserError
from sip.core.extras import install_extras
from sip.core.ranges import Count, Positive

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sip.backbone.base import Backbone


@component
class LoRA(Component):
    """Trains low-rank updates of chosen layers, and the head.

    Args:
        rank: Rank of the updates.
        alpha: An update is scaled by alpha / rank.
        dropout: On what goes into A while training.
        targets: Ends of the names of the adapted layers, such as [attn.qkv, mlp.fc1]; None for
            what `sip.classifier.tuning.adapted.TARGETS` states for the network's type.
    """

    frozen: ClassVar[bool] = False
    trains_all: ClassVar[bool] = False

    rank: Count
    alpha: Positive
    dropout: Annotated[float, Field(ge=0, lt=1)]
    targets: Annotated[Sequence[str], Field(min_length=1)] | None

    def check(self, backbone: "Backbone") -> None:
        """Refuse a backbone from scratch, and an environment without peft.

        Raises:
            UserError: One of the two.
        """
        require_pretrained("lora", backbone)
        if find_spec("peft") is None:
            raise UserError(
                f"classifier/tuning=lora: needs the package peft; {install_extras('lora')}"
            )

    def apply(self, network: Any) -> "nn.Module":
        """Return the network with adapters.

        Raises:
            UserError: The targets match none of its layers, or one that has no adapter.
        """
        from peft import LoraConfig, get_peft_model

        from sip.classifier.tuning.adapted import Adapted, target_of

        targets = target_of(network) if self.targets is None else list(self.targets)
        if targets is None:
            raise self._refusal(network, "no layers are known for this type of network")
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

    def _refusal(self, network: "nn.Module", reason: str) -> UserError:
        """Return an error with examples of layer names."""
        from sip.classifier.tuning.adapted import layer_names

        first = " ".join(reason.split()).split(". ")[0].rstrip(".")
        return UserError(
            f"classifier.tuning.targets: must be ends of names of layers of a "
            f"{type(network).__name__}, such as {', '.join(layer_names(network))}, got "
            f"{self.targets}; {first}"
        )

    def weights(self, network: "nn.Module") -> "dict[str, Tensor]":
        """Return the state of a merged copy of the network."""
        return self._merged(network).state_dict()

    def load(self, network: "nn.Module", weights: "dict[str, Tensor]") -> "nn.Module":
        """Return the merged network with this state."""
        merged = self._merged(network)
        merged.load_state_dict(weights)
        return merged

    def _merged(self, network: Any) -> "nn.Module":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft's: on merging at all
            return copy.deepcopy(network.model).merge_and_unload()
