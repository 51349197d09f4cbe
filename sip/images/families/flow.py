"""What the transformers with flow matching share: one schedule, latents in patches of 2 x 2."""

from typing import ClassVar

from torch import Tensor

from sip.core.shapes import Size
from sip.images.families.base import Conditioning, Family
from sip.images.folder import PipelineFolder
from sip.images.schedulers import NoiseSchedule, SchedulerName, flow_schedule

PATCH = 2  # latents along a patch


class FlowFamily(Family):
    """A transformer that predicts the flow from image to noise."""

    denoiser_part: ClassVar[str] = "transformer"
    texts_kept: ClassVar[int] = 64  # one takes 2 to 8 MB
    is_linear: ClassVar[bool] = True  # noise levels 1, ..., 1/n before the model's own shift

    @staticmethod
    def first_step(num_steps: int, noise_rate: float) -> int:
        """Return the first step that is run; these pipelines round the steps that are run up."""
        return int(max(num_steps - min(num_steps * noise_rate, num_steps), 0))

    @classmethod
    def schedule(
        cls, folder: PipelineFolder, name: SchedulerName, num_steps: int, size: Size
    ) -> NoiseSchedule:
        """Return the schedule of a model that is not loaded yet.

        Raises:
            UserError: The scheduler is not Euler's.
        """
        unit = cls.size_unit(folder)
        num_tokens = (size.width // unit) * (size.height // unit)
        config = folder.config("scheduler")
        return flow_schedule(name, config, num_steps, num_tokens, cls.is_linear)

    @classmethod
    def size_unit(cls, folder: PipelineFolder) -> int:
        """Return the number of px that sizes are multiples of: that of a patch."""
        return folder.vae_scale * PATCH


class PackedFamily(FlowFamily):
    """A transformer that is called with one token a patch, and may read the guidance scale."""

    @classmethod
    def embeds_guidance(cls, folder: PipelineFolder) -> bool:
        """Return whether the transformer reads the guidance scale."""
        return bool(folder.config("transformer").get("guidance_embeds"))

    def patches(self, size: Size) -> tuple[int, int]:
        """Return rows and columns of patches."""
        _, height, width = self.shape_of_latents(size)
        return height // PATCH, width // PATCH

    def guidance(self, scales: Tensor) -> Tensor | None:
        """Return the scales (B,), float32, as the transformer reads them; None if it does not."""
        return scales.float() if self.denoiser.config.guidance_embeds else None

    def predict(self, latents: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        """Return the transformer's prediction (B, C, h, w) for one timestep () on the device."""
        tokens: Tensor = self.denoiser(
            hidden_states=packed(latents),
            timestep=timestep.expand(len(latents)) / 1000,
            return_dict=False,
            **conditioning,
        )[0]
        return unpacked(tokens, *latents.shape[2:])


def packed(latents: Tensor) -> Tensor:
    """Return latents (B, C, h, w) as tokens (B, h w / 4, 4 C), one a patch of 2 x 2."""
    num, channels, height, width = latents.shape
    patches = latents.view(num, channels, height // PATCH, PATCH, width // PATCH, PATCH)
    return patches.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def unpacked(tokens: Tensor, height: int, width: int) -> Tensor:
    """Return tokens (B, h w / 4, 4 C) as latents (B, C, h, w)."""
    patches = tokens.view(len(tokens), height // PATCH, width // PATCH, -1, PATCH, PATCH)
    return patches.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)
