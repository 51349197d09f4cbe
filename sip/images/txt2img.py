"""Diffusion from noise alone, with the same prompts and guidance: the paper's ablation.

Equal to diffusers' `StableDiffusionPipeline` and its kin (Apache 2.0), one picture at a time.
"""

from torch import Tensor

from sip.images.batches import Batch
from sip.images.engine import Engine
from sip.images.schedulers import Schedule
from sip.prompts.base import Prompt


class Txt2Img(Engine):
    """Draws without the original; all steps are run whatever the noise rate."""

    reads_source = False
    num_draws = 1

    def first_step(self, prompt: Prompt) -> int:
        """Return 0."""
        return 0

    def start(self, batch: Batch, noise: Tensor, schedule: Schedule, first: int) -> Tensor:
        """Return pure noise (B, C, h, w), float32, at the scale that the schedule starts from."""
        return noise[0] * schedule.initial
