"""SIP's generation: diffusion from the original image, image to image.

Source: arXiv 2302.02070, method section; Meng et al., SDEdit, ICLR 2022. Steps and order of the
random numbers are those of diffusers' `StableDiffusionImg2ImgPipeline` and its kin (Apache 2.0).
"""

from typing import TYPE_CHECKING, ClassVar

from sip.core.component import component
from sip.core.errors import ValueRefusedError
from sip.images.diffusion import Diffusion
from sip.images.settings import Originals
from sip.prompts.base import Prompt

if TYPE_CHECKING:
    from torch import Tensor

    from sip.images.samplers import Sampler


@component
class Img2Img(Diffusion):
    """Starts from the noised original; the noise rate says how much of the schedule is run."""

    reads_source: ClassVar[bool] = True

    @property
    def num_noises(self) -> int:
        """Noises of an image before its first step."""
        return 2 if self.samples_originals else 1

    def first_step(self, prompt: Prompt) -> int:
        """Return the index of the first scheduler step, rounded as diffusers does.

        Raises:
            UserError: The noise rate is so small that no step would run.
        """
        first = self._rounded(prompt.noise_rate)
        if first == self.num_steps:
            rule = f"in [{1 / self.num_steps:g}, 1], so that 1 to {self.num_steps} steps run"
            fix = "change it or images.num_steps"
            raise ValueRefusedError("prompts.noise_rate", rule, prompt.noise_rate, fix)
        return first

    def _rounded(self, noise_rate: float) -> int:
        if self.is_on_disk:
            return self.family.first_step(self.num_steps, noise_rate)
        from sip.images.families.base import Family

        return Family.first_step(self.num_steps, noise_rate)

    def start(self, originals: Originals, noise: "Tensor", sampler: "Sampler") -> "Tensor":
        """Return the originals' latents (B, C, h, w), float32, noised for the first step."""
        # The order of the noises is the pipeline's: first the posterior's, if there is one, then
        # the step's.
        return sampler.noised(originals(noise[0]), noise[-1])
