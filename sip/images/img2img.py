"""SIP's generation: Stable Diffusion from the original image, image to image.

Source: arXiv 2302.02070, method section; Meng et al., SDEdit, ICLR 2022. Steps and order of the
random numbers are those of diffusers' `StableDiffusionImg2ImgPipeline` (Apache 2.0).
"""

from functools import cached_property

import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor

from sip.common.errors import UserError
from sip.images.batches import Batch
from sip.images.engine import NUM_RECENT, Engine
from sip.images.recent import Recent
from sip.prompts.base import Prompt


class Img2Img(Engine):
    """Draws from the noised original; the noise rate says how much of the schedule is run."""

    reads_source = True

    @cached_property
    def posteriors(self) -> Recent[str]:
        """The originals' latent distributions by content hash, (8, h, w): mean, log variance."""
        return Recent(NUM_RECENT)

    def clear(self) -> None:
        """Forget what is kept; it lies on the device."""
        super().clear()
        self.posteriors.clear()

    def first_step(self, prompt: Prompt) -> int:
        """Return the index of the first scheduler step, rounded as diffusers does.

        Raises:
            UserError: The noise rate is so small that no step would run, or out of range.
        """
        num_executed = int(self.num_steps * prompt.noise_rate)
        if not 1 <= num_executed <= self.num_steps:
            raise UserError(
                f"prompts.noise_rate: expected {1 / self.num_steps:g} to 1, so that 1 to "
                f"{self.num_steps} steps run, came {prompt.noise_rate:g}; change it or "
                "images.num_steps"
            )
        return self.num_steps - num_executed

    def start(self, batch: Batch, generators: list[torch.Generator], timestep: Tensor) -> Tensor:
        """Return the originals' latents (B, 4, h, w), float32, noised to `timestep`."""

        def encode(missing: list[str]) -> Tensor:
            pixels = torch.stack([batch.sources[key] for key in missing]) * 2 - 1
            pixels = pixels.to(self.device, self.vae.dtype)
            return self.vae.encode(pixels).latent_dist.parameters.float()

        parameters = self.posteriors.get([row.source_sha256 for row in batch.prompts], encode)
        posterior = DiagonalGaussianDistribution(parameters)
        # The order of draws is the pipeline's: first the posterior's sample, then the noise.
        latents = posterior.mean + posterior.std * self.noise(generators)
        latents = latents * self.vae.config.scaling_factor
        return self.scheduler.add_noise(
            latents, self.noise(generators), timestep.repeat(len(latents))
        )
