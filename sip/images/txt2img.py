"""Diffusion from pure noise, with the same prompts and guidance: the paper's ablation.

Equal to diffusers' `StableDiffusionPipeline` and its kin (Apache 2.0), one image at a time.
"""

from typing import TYPE_CHECKING, ClassVar

from sip.core.component import component
from sip.images.diffusion import Diffusion
from sip.images.settings import Originals
from sip.prompts.base import Prompt

if TYPE_CHECKING:
    from torch import Tensor

    from sip.images.samplers import Sampler


@component
class Txt2Img(Diffusion):
    """Generates without the original; all steps are run whatever the noise rate."""

    reads_source: ClassVar[bool] = False

    @property
    def num_noises(self) -> int:
        """Noises of an image before its first step."""
        return 1

    def first_step(self, prompt: Prompt) -> int:
        """Return 0."""
        return 0

    def start(self, originals: Originals, noise: "Tensor", sampler: "Sampler") -> "Tensor":
        """Return pure noise (B, C, h, w), float32, at the scale that the schedule starts from."""
        return sampler.initial(noise[0])
