"""The settings of inpainting: image to image in a part of the original; the other part stays.

Source: Lugmayr et al., RePaint, CVPR 2022 (arXiv 2201.09865) for denoisers that read no mask:
after each step, the latents of what stays are those of the original with that step's noise.
Rombach et al., CVPR 2022 (arXiv 2112.10752) for those trained for it, which read the mask and the
latents of what stays. Steps and order of the random numbers are those of diffusers'
`StableDiffusionInpaintPipeline` and `StableDiffusionXLInpaintPipeline` (Apache 2.0).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from sip.core.component import Part, component, refuse
from sip.dataset.base import Sample
from sip.images.base import CompanionsByField
from sip.images.img2img import Img2Img
from sip.images.masks.base import Masks
from sip.images.settings import Originals

if TYPE_CHECKING:
    from torch import Tensor

    from sip.images.samplers import Sampler


@component
class InpaintSettings(Img2Img):
    """Generates as `Img2Img` where the mask lets it.

    Args:
        masks: Gives each original its mask.
        paste: Whether the original's own pixels replace what stays. Without it they pass through
            the autoencoder, which changes them a little and blends the border.
    """

    gives_mask: ClassVar[bool] = True

    masks: Part[Masks]
    paste: bool

    def companions_of(self, samples: Sequence[Sample]) -> CompanionsByField:
        """Return the mask of each original.

        Raises:
            UserError: Masks are missing or do not fit; names them.
        """
        return {"mask": self.masks.of(samples)}

    def require(self) -> None:
        """Make sure that the weights are there, those that find masks too.

        Raises:
            UserError: They are not, or do not fit.
        """
        super().require()
        self.masks.require()

    def _require_fit(self) -> None:
        super()._require_fit()
        self._require_unet("inpaint")
        if self.reads_mask and not self.samples_originals:
            rule = "null for a model that reads the latents of what stays"
            raise refuse("images.vae", rule, self.vae)

    @property
    def reads_mask(self) -> bool:
        """Whether the denoiser reads mask and latents of what stays."""
        return self.family.reads_mask(self.folder)

    def noises_before(self, first: int) -> int:
        """Return the number of noises before the first step.

        They are those of the original's latents, of the first step, and of the latents of what
        stays, which diffusers samples for all models.
        """
        return 1 + self.samples_originals * (2 if self._encodes_originals(first) else 1)

    def _encodes_originals(self, first: int) -> bool:
        return first > 0 or not self.reads_mask

    def noise_of_step(self, noise: "Tensor") -> "Tensor":
        """Return the noise (B, C, h, w) that is added, of all before the first step."""
        return noise[-2] if self.samples_originals else noise[-1]

    def start(self, originals: Originals, noise: "Tensor", sampler: "Sampler") -> "Tensor":
        """Return the latents (B, C, h, w), float32, of the first step.

        At a noise rate of 1 it is noise alone, as in diffusers' pipelines.
        """
        added = self.noise_of_step(noise)
        if len(sampler.timesteps) == self.num_steps:
            return sampler.initial(added)
        return sampler.noised(originals(noise[0]), added)
