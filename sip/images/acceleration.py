"""The device settings of a run, applied to a loaded model; none changes pixels beyond rounding."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from sip.device.precision import set_precision
from sip.device.settings import Runtime
from sip.images.families.base import Family

BACKENDS = {
    "math": SDPBackend.MATH,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
}
MOST_SHAPES = 64  # compiled for one model; the batch sizes that are tried are far fewer


def accelerate(family: Family, runtime: Runtime) -> None:
    """Lay out and compile the denoiser and the autoencoder, in place; may be called again."""
    layout = torch.channels_last if runtime.channels_last else torch.contiguous_format
    for model in (family.denoiser, family.vae):
        if all(weight.dim() != 5 for weight in model.parameters()):  # else of videos
            model.to(memory_format=layout)
    if runtime.vae_slicing:
        family.vae.enable_slicing()
    else:
        family.vae.disable_slicing()
    set_precision(runtime)
    if runtime.compile:
        torch._dynamo.config.recompile_limit = MOST_SHAPES
        # No graphs of the autoencoder: latents of originals are kept, and a graph writes over what
        # it returned before. `Sampler` uses up a prediction within its step.
        graphs = {"mode": "reduce-overhead"} if runtime.compile == "graphs" else {}
        compile_denoiser(family.denoiser, runtime, dynamic=False, **graphs)
        # The two halves and not the autoencoder: slicing and tiling stay what they are.
        for part in (family.vae.encoder, family.vae.decoder):
            part.compile(dynamic=False)


def compile_denoiser(denoiser: Any, runtime: Runtime, **options: Any) -> None:
    """Compile a denoiser in place, or the blocks that repeat in it if it names them.

    Args:
        denoiser: A model of diffusers.
        runtime: Its `compile` says which.
        options: Options of `torch.compile`.
    """
    if runtime.compile == "blocks" and getattr(denoiser, "_repeated_blocks", None):
        denoiser.compile_repeated_blocks(**options)
    else:
        denoiser.compile(**options)


@contextmanager
def attention(name: str) -> Iterator[None]:
    """Use one of torch's attention kernels.

    Args:
        name: A key of `BACKENDS`, or "auto". Where the kernel cannot do a call, as with the wide
            heads of the autoencoder, the plain one does it.
    """
    if name == "auto":
        yield
        return
    with sdpa_kernel([BACKENDS[name], SDPBackend.MATH], set_priority=True):
        yield
