"""Low-rank updates by peft, in the file format of diffusers.

The factor alpha / rank is multiplied into the second matrix of each update when it is saved, so
that every program that loads the file applies the same update.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import diffusers
import torch
from diffusers.training_utils import cast_training_params
from torch import Tensor, nn

from sip.adapt.trained import Trained
from sip.core.component import refuse
from sip.core.hashing import seeded

if TYPE_CHECKING:
    from sip.images.families.sd import StableDiffusion

OF_TEXT = ["q_proj", "k_proj", "v_proj", "out_proj"]  # as in diffusers' training scripts
ENCODERS: Mapping[str, str] = {"text": "text_encoder", "text_2": "text_encoder_2"}


class LoraWeights(Trained):
    """Updates of the U-Net and, if asked for, of the text encoders.

    Args:
        family: The model; its own weights are frozen.
        rank, alpha, targets: As in `LoraTraining`.
        train_text_encoder: Likewise.
        seed: Decides the random first matrices.
    """

    part: ClassVar[str] = "unet"

    def __init__(
        self,
        family: "StableDiffusion",
        rank: int,
        alpha: float,
        targets: list[str],
        train_text_encoder: bool,
        seed: int,
    ) -> None:
        super().__init__(family)
        self.scale = alpha / rank
        self.changes_texts = train_text_encoder
        self.networks: dict[str, Any] = {self.part: family.denoiser}
        if train_text_encoder:
            self.networks |= {
                name: getattr(family, attribute).encoder
                for attribute, name in ENCODERS.items()
                if hasattr(family, attribute)
            }
        with seeded(seed):
            for name, network in self.networks.items():
                own = targets if name == self.part else OF_TEXT
                network.add_adapter(_config(rank, alpha, own))
        cast_training_params(list(self.networks.values()), torch.float32)

    def content(self) -> bytes:
        """Return the bytes of `pytorch_lora_weights.safetensors`."""
        from diffusers.utils import convert_state_dict_to_diffusers
        from peft import get_peft_model_state_dict

        layers = {}
        for name, network in self.networks.items():
            state = self._scaled(get_peft_model_state_dict(network))
            if name != self.part:  # of the U-Net's modules only attention has names of diffusers'
                state = convert_state_dict_to_diffusers(state)
            layers[f"{name}_lora_layers"] = state
        pipeline = getattr(diffusers, self.family.pipelines[0])
        with tempfile.TemporaryDirectory() as folder:
            pipeline.save_lora_weights(folder, **layers)
            (file,) = Path(folder).iterdir()
            return file.read_bytes()

    def _scaled(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: value.detach().cpu() * (self.scale if "lora_B" in name else 1.0)
            for name, value in state.items()
        }


def _config(rank: int, alpha: float, targets: list[str]) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]  # a ratio: any number will do
        init_lora_weights="gaussian",
        target_modules=targets,
    )


def require_targets(network: nn.Module, targets: list[str]) -> None:
    """Check that a U-Net has modules of all names.

    Raises:
        UserError: It has none of one.
    """
    names = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ]
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in names):
            known = sorted({name.rpartition(".")[2] for name in names if "." in name})
            rule = "ends of names of the U-Net's linear layers and convolutions"
            fix = f"the names end in {', '.join(name for name in known if not name.isdigit())}"
            raise refuse("method.targets", rule, target, fix)
