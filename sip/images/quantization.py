"""Weights of linear layers in 8 bits, by torchao: half the memory of 16 bits, other pixels.

Denoiser and text encoders are quantised, each output channel with its own scale; products are
computed in the models' dtype. The autoencoder stays as it is, and so do convolutions.
"""

from importlib.util import find_spec
from typing import Any, Literal

from sip.core.errors import UserError
from sip.core.extras import install_extras

Quantization = Literal["int8", "fp8"]
CONFIGS: dict[Quantization, str] = {"int8": "Int8WeightOnlyConfig", "fp8": "Float8WeightOnlyConfig"}
KEPT = ("vae", "safety_checker")


def require_torchao() -> None:
    """Make sure that the library is installed.

    Raises:
        UserError: It is not.
    """
    if find_spec("torchao") is None:
        extra = install_extras("quantization")
        raise UserError(f"images.quantization: needs the package torchao; {extra}")


def quantize(pipeline: Any, name: Quantization) -> None:
    """Quantise a pipeline's weights in place."""
    import torch
    from torchao import quantization

    config = getattr(quantization, CONFIGS[name])
    for part, model in pipeline.components.items():
        if isinstance(model, torch.nn.Module) and part not in KEPT:
            quantization.quantize_(model, config())
