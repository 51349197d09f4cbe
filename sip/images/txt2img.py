"""Stable Diffusion from noise alone, with the same prompts and guidance: the paper's ablation.

Equal to diffusers' `StableDiffusionPipeline` (Apache 2.0) called for one picture at a time.
"""

import torch
from torch import Tensor

from sip.images.batches import Batch
from sip.images.engine import Engine
from sip.prompts.base import Prompt


class Txt2Img(Engine):
    """Draws without the original; all steps are run whatever the noise rate."""

    reads_source = False

    def first_step(self, prompt: Prompt) -> int:
        """Return 0."""
        return 0

    def start(self, batch: Batch, generators: list[torch.Generator], timestep: Tensor) -> Tensor:
        """Return pure noise (B, 4, h, w), float32, at the scale that the scheduler starts from."""
        return self.noise(generators) * self.scheduler.init_noise_sigma
