"""SIP's generation: diffusion from the original image, image to image.

Source: arXiv 2302.02070, method section; Meng et al., SDEdit, ICLR 2022. Steps and order of the
random numbers are those of diffusers' `StableDiffusionImg2ImgPipeline` and its kin (Apache 2.0).
"""

from functools import cached_property

import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor

from sip.core.errors import UserError
from sip.images.batches import Batch
from sip.images.engine import Engine
from sip.images.families import StableDiffusion
from sip.images.recent import Recent
from sip.images.schedulers import Schedule
from sip.prompts.base import Prompt

NUM_POSTERIORS = 512  # at Stable Diffusion v1.5's size one takes 0.13 MB, at SDXL's 0.5 MB


class Img2Img(Engine):
    """Draws from the noised original; the noise rate says how much of the schedule is run."""

    reads_source = True
    num_draws = 2

    @cached_property
    def posteriors(self) -> Recent[str]:
        """The originals' latent distributions by content hash, (2 C, h, w): mean, log variance."""
        return Recent(NUM_POSTERIORS)

    def clear(self) -> None:
        """Forget what is kept; it lies on the device."""
        super().clear()
        self.posteriors.clear()

    def drop(self, batch: Batch) -> None:
        """Forget the originals that no later batch needs."""
        self.posteriors.drop(batch.last_sources)

    def first_step(self, prompt: Prompt) -> int:
        """Return the index of the first scheduler step, rounded as diffusers does.

        Raises:
            UserError: The noise rate is so small that no step would run, or out of range.
        """
        first = self.num_steps
        if 0 < prompt.noise_rate <= 1:
            family = self.family_class if self.has_layout else StableDiffusion
            first = family.first_step(self.num_steps, prompt.noise_rate)
        if not 0 <= first < self.num_steps:
            raise UserError(
                f"prompts.noise_rate: expected {1 / self.num_steps:g} to 1, so that 1 to "
                f"{self.num_steps} steps run, came {prompt.noise_rate:g}; change it or "
                "images.num_steps"
            )
        return first

    def start(self, batch: Batch, noise: Tensor, schedule: Schedule, first: int) -> Tensor:
        """Return the originals' latents (B, C, h, w), float32, noised for the first step."""
        keys = [row.source_sha256 for row in batch.prompts]
        parameters = self.posteriors.get(keys, lambda missing: self._encode(batch, missing))
        posterior = DiagonalGaussianDistribution(parameters)
        # The order of draws is the pipeline's: first the posterior's sample, then the noise.
        latents = self.models.scaled(posterior.mean + posterior.std * noise[0])
        alpha, sigma = schedule.starts[first]
        return latents * alpha + noise[1] * sigma

    def _encode(self, batch: Batch, missing: list[str]) -> Tensor:
        assert self.runtime is not None
        pixels = torch.stack([batch.sources[key] for key in missing])
        if self.runtime.compile:  # as in `paint`
            more = self.shapes.full("encode", len(pixels)) - len(pixels)
            pixels = torch.cat([pixels, pixels[-1:].expand(more, -1, -1, -1)])
        parameters = self.models.encode(pixels.to(self.device))
        self.shapes.ran("encode", len(pixels))
        return parameters[: len(missing)]
