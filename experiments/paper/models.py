"""Count parameters, memory and operations of each model: `python -m experiments.paper.models`.

Everything is arithmetic on the architectures, with weights that take no memory (`meta`): no GPU, no
download, nothing measured. The sizes are those of the models' configuration files on the hub.
Activations are the largest sum of tensors alive at once in eager mode, attention fused; what CUDA,
the allocator and `torch.compile` take comes on top.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    ChromaTransformer2DModel,
    ControlNetModel,
    Flux2Transformer2DModel,
    FluxTransformer2DModel,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
    ZImageTransformer2DModel,
)
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from sip.benchmark.full_size import UNET, VAE

DTYPE = torch.bfloat16
GB = 1e9  # bytes
ATTENTION = "scaled_dot_product_attention"
TFLOPS = 120.0  # sustained in bfloat16; an A100 compiled, as reported elsewhere
XL_UNET: dict[str, Any] = {
    "sample_size": 128,
    "cross_attention_dim": 2048,
    "attention_head_dim": (5, 10, 20),
    "block_out_channels": (320, 640, 1280),
    "transformer_layers_per_block": (1, 2, 10),
    "layers_per_block": 2,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
}
SD2_UNET = UNET | {
    "cross_attention_dim": 1024,
    "attention_head_dim": (5, 10, 20, 20),
    "use_linear_projection": True,
}
SD3: dict[str, Any] = {
    "sample_size": 128,
    "num_layers": 24,
    "num_attention_heads": 24,
    "caption_projection_dim": 1536,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 2048,
    "pos_embed_max_size": 192,
    "out_channels": 16,
}
SD35 = SD3 | {
    "dual_attention_layers": tuple(range(13)),
    "qk_norm": "rms_norm",
    "pos_embed_max_size": 384,
}
FLUX_DEV, FLUX_SCHNELL = {"guidance_embeds": True}, {"guidance_embeds": False}
QWEN = {"num_layers": 60}  # these three are diffusers' defaults
Z_IMAGE = {"n_layers": 30}
CHROMA = {"approximator_layers": 5}
KLEIN: dict[str, Any] = {
    "num_layers": 5,
    "num_single_layers": 20,
    "num_attention_heads": 24,
    "joint_attention_dim": 7680,
    "guidance_embeds": False,
}
UNETS = (UNET, SD2_UNET, XL_UNET)


@dataclass(frozen=True)
class Model:
    """A choice of the group `images`.

    Args:
        texts: Parameters of its text encoders, in millions, as published.
        size: Of the images, px.
        steps: Scheduler steps of the preset.
        passes: Forward passes a step: 2 with guidance.
        edits: Whether it is an editor: all steps are run, and the denoiser reads the original's
            latents next to those of the image.
        controlled: Whether a ControlNet reads the same as the denoiser.
    """

    name: str
    settings: dict[str, Any]
    texts: int
    size: int
    steps: int
    passes: int
    edits: bool = False
    controlled: bool = False

    @property
    def num_steps(self) -> int:
        """Steps that are run, at noise rate 0.5."""
        return self.steps if self.edits else -(-self.steps // 2)


MODELS = (
    Model("sd15", UNET, 123, 512, 50, 2),
    Model("sd15_lcm", UNET, 123, 512, 8, 1),
    Model("sd21", SD2_UNET, 340, 768, 50, 2),
    Model("sd_turbo", SD2_UNET, 340, 512, 4, 1),
    Model("sdxl", XL_UNET, 818, 1024, 50, 2),
    Model("sdxl_turbo", XL_UNET, 818, 512, 4, 1),
    Model("sd15_hyper8", UNET, 123, 512, 8, 2),
    Model("sdxl_hyper8", XL_UNET, 818, 1024, 8, 2),
    Model("sd3", SD3, 5_581, 1024, 28, 2),
    Model("sd35_medium", SD35, 5_581, 1024, 40, 2),
    Model("z_image_turbo", Z_IMAGE, 4_022, 1024, 8, 1),
    Model("z_image", Z_IMAGE, 4_022, 1024, 50, 2),
    Model("flux_schnell", FLUX_SCHNELL, 4_885, 1024, 4, 1),
    Model("flux_dev", FLUX_DEV, 4_885, 1024, 28, 1),
    Model("qwen_image", QWEN, 8_292, 1024, 50, 2),
    Model("chroma", CHROMA, 4_762, 1024, 35, 2),
    Model("sd15_canny", UNET, 123, 512, 50, 2, controlled=True),
    Model("sdxl_canny", XL_UNET, 818, 1024, 50, 2, controlled=True),
    Model("edit", KLEIN, 4_022, 1024, 4, 1, edits=True),
    Model("edit_kontext", FLUX_DEV, 4_885, 1024, 28, 1, edits=True),
    Model("edit_qwen", QWEN, 8_292, 1024, 50, 2, edits=True),
)


class Peak(TorchDispatchMode):
    """Follows the bytes of all tensors that are alive, and keeps their largest sum.

    Args:
        network: Its weights are not counted, nor are views of them.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.now = self.largest = 0
        self.known = {tensor.untyped_storage()._cdata for tensor in network.parameters()}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call, then count the storages that are new."""
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.add(tensor.untyped_storage())
        return result

    def add(self, storage: torch.UntypedStorage) -> None:
        """Count a storage until it is freed."""
        name = storage._cdata
        if name in self.known:
            return
        size = storage.nbytes()
        self.known.add(name)
        self.now += size
        self.largest = max(self.largest, self.now)
        weakref.finalize(storage, self.remove, name, size)

    def remove(self, name: int, size: int) -> None:
        """Forget a storage."""
        self.known.discard(name)
        self.now -= size


def measure(network: nn.Module, call: Callable[[], object]) -> tuple[float, float]:
    """Return operations in units of 10^12, and the peak of activations in GB."""
    with torch.no_grad():
        with FlopCounterMode(display=False) as counter:
            call()
        with Peak(network) as peak, patch.object(functional, ATTENTION, _fused):
            call()
    return counter.get_total_flops() / 1e12, peak.largest / GB


def _fused(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **_: Any) -> torch.Tensor:
    """Return an output of fused attention: the matrix of weights never exists."""
    return query.new_empty(*query.shape[:-1], value.shape[-1])


def denoiser_of(model: Model) -> tuple[nn.Module, Callable[[int], object]]:
    """Return the denoiser, and a call of it with a number of rows."""
    side, images = model.size // 8, 2 if model.edits else 1
    places = images * side**2 // 4
    if model.settings in (FLUX_DEV, FLUX_SCHNELL, CHROMA, KLEIN):
        return flux(model.settings, places)
    if model.settings == QWEN:
        denoiser: nn.Module = QwenImageTransformer2DModel()
        return denoiser, lambda rows: denoiser(
            torch.zeros(rows, places, 64),
            encoder_hidden_states=torch.zeros(rows, 512, 3584),
            encoder_hidden_states_mask=None,
            timestep=torch.zeros(rows),
            img_shapes=[[(1, side // 2, side // 2)] * images] * rows,
        )
    if model.settings == Z_IMAGE:
        denoiser = ZImageTransformer2DModel()
        return denoiser, lambda rows: denoiser(
            [torch.zeros(16, 1, side, side)] * rows,
            torch.zeros(rows),
            [torch.zeros(512, 2560)] * rows,
        )
    if model.settings in (SD3, SD35):
        denoiser = SD3Transformer2DModel(**model.settings)
        return denoiser, lambda rows: denoiser(
            torch.zeros(rows, 16, side, side),
            encoder_hidden_states=torch.zeros(rows, 333, 4096),
            pooled_projections=torch.zeros(rows, 2048),
            timestep=torch.zeros(rows),
        )
    return unet(model)


def unet(model: Model) -> tuple[nn.Module, Callable[[int], object]]:
    """Return a U-Net, with a ControlNet if there is one, and a call with a number of rows."""
    denoiser = UNet2DConditionModel(**model.settings)
    side, width = model.size // 8, model.settings["cross_attention_dim"]
    more = (
        {"text_embeds": torch.zeros(1, 1280), "time_ids": torch.zeros(1, 6)}
        if model.settings is XL_UNET
        else {}
    )

    def inputs(rows: int) -> tuple[Any, ...]:
        return torch.zeros(rows, 4, side, side), torch.zeros(()), torch.zeros(rows, 77, width)

    def added(rows: int) -> dict[str, Any]:
        return {key: value.repeat(rows, 1) for key, value in more.items()}

    if not model.controlled:
        return denoiser, lambda rows: denoiser(*inputs(rows), added_cond_kwargs=added(rows))
    control = ControlNetModel.from_unet(denoiser, load_weights_from_unet=False)

    def call(rows: int) -> object:
        condition = torch.zeros(rows, 3, model.size, model.size)
        features = control(
            *inputs(rows), condition, added_cond_kwargs=added(rows), return_dict=False
        )
        return denoiser(
            *inputs(rows),
            added_cond_kwargs=added(rows),
            down_block_additional_residuals=features[0],
            mid_block_additional_residual=features[1],
        )

    return nn.ModuleList([denoiser, control]), call


def flux(settings: dict[str, Any], places: int) -> tuple[nn.Module, Callable[[int], object]]:
    """Return a transformer of FLUX.1's kind, and a call of it with a number of rows.

    Args:
        settings: Its own.
        places: Tokens of the image, and of the original if it is read.
    """
    kinds = {"approximator_layers": ChromaTransformer2DModel, "num_layers": Flux2Transformer2DModel}
    kind = next((kinds[key] for key in settings if key in kinds), FluxTransformer2DModel)
    denoiser = kind(**settings)
    axes = len(denoiser.config.axes_dims_rope)
    guidance = settings.get("guidance_embeds")
    more: dict[str, Any] = {"guidance": torch.zeros(1, dtype=torch.float32) if guidance else None}
    if kind is ChromaTransformer2DModel:
        more = {}
    width = settings.get("joint_attention_dim", 4096)
    return denoiser, lambda rows: denoiser(
        hidden_states=torch.zeros(rows, places, denoiser.config.in_channels),
        encoder_hidden_states=torch.zeros(rows, 512, width),
        timestep=torch.zeros(rows),
        img_ids=torch.zeros(places, axes),
        txt_ids=torch.zeros(512, axes),
        **(
            {"pooled_projections": torch.zeros(rows, 768)} if kind is FluxTransformer2DModel else {}
        ),
        **more,
    )


def autoencoder_of(model: Model) -> tuple[nn.Module, tuple[int, ...]]:
    """Return the autoencoder, and channels, and frames of one of videos, of its latents."""
    if model.settings == QWEN:
        return AutoencoderKLQwenImage(), (16, 1)
    if model.settings == KLEIN:
        return AutoencoderKLFlux2(), (32,)
    channels = 4 if model.settings in UNETS else 16
    return AutoencoderKL(**(VAE | {"latent_channels": channels})), (channels,)


def line(model: Model) -> str:
    """Return a model's row of the table."""
    denoiser, call = denoiser_of(model)
    vae, shape = autoencoder_of(model)
    image = torch.zeros(1, 3, *shape[1:], model.size, model.size)
    evaluation, _ = measure(denoiser, lambda: call(1))
    _, batch = measure(denoiser, lambda: call(model.passes))
    encode, _ = measure(vae, lambda: vae.encode(image))
    decode, decoding = measure(
        vae, lambda: vae.decode(torch.zeros(1, *shape, model.size // 8, model.size // 8))
    )
    parameters = sum(p.numel() for part in (denoiser, vae) for p in part.parameters())
    weights = (parameters / 1e6 + model.texts) * 2e6 / GB  # 16-bit
    work = model.num_steps * model.passes * evaluation + encode + decode
    millions = parameters / 1e6 + model.texts
    return (
        f"| `{model.name}` | {model.size} | {millions:,.0f} M | {weights:.1f} | {batch:.2f} "
        f"| {decoding:.2f} | {evaluation:.2f} | {work:.1f} | {work / TFLOPS:.2f} |"
    )


def main() -> None:
    """Print the table."""
    torch.set_default_dtype(DTYPE)
    print("| `images=` | px | parameters | weights, GB | denoiser, GB | decoder, GB "
          "| TFLOP an evaluation | TFLOP an image | s an image |")  # fmt: skip
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    with torch.device("meta"):
        for model in MODELS:
            print(line(model))


if __name__ == "__main__":
    main()
