"""The settings of ControlNet: diffusion that keeps the original's edges or depth.

Source: Zhang et al., ICCV 2023, arXiv 2302.05543. Steps and order of the random numbers are those
of diffusers' `StableDiffusionControlNetImg2ImgPipeline`, `StableDiffusionControlNetPipeline` and
those of XL (Apache 2.0).
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sip.core.component import Part, added, component, known_by, refuse
from sip.core.ranges import NotNegative
from sip.dataset.base import Sample
from sip.images.base import CompanionsByField
from sip.images.conditions.base import Condition
from sip.images.control_weights import ControlWeights
from sip.images.img2img import Img2Img
from sip.images.settings import Interval, Originals, built
from sip.prompts.base import Prompt
from sip.weights.memory import Memory, memory_of
from sip.weights.missing import MissingWeightsError

if TYPE_CHECKING:
    from torch import Tensor

    from sip.images.samplers import Sampler


@component
class ControlSettings(Img2Img):
    """Image to image, or text to image, with a ControlNet.

    Args:
        controlnet: Folder or hub name of the ControlNet, or a mapping of `model`, `revision` and
            `variant`.
        condition: Makes what it reads of an original.
        conditioning_scale: Weight of what it adds; 0 is image to image without it.
        control_interval: Part of the steps that are run in which it acts, [begin, end].
        from_noise: Whether to start from pure noise, as text to image: all steps are run whatever
            the noise rate, and only the condition comes from the original.
    """

    controlnet: str | dict[str, Any] = known_by("control")
    condition: Part[Condition]
    conditioning_scale: NotNegative
    control_interval: Interval
    from_noise: bool = added(neutral=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        begin, end = self.control_interval
        if begin >= end:
            rule = "[begin, end] with begin < end"
            raise refuse("control_interval", rule, list(self.control_interval))
        _ = self.control  # refuses wrong values

    @cached_property
    def control(self) -> ControlWeights:
        """The ControlNet's weights."""
        given = self.controlnet
        values = {"model": given} if isinstance(given, str) else given
        none = {"revision": None, "variant": None}
        return built(ControlWeights, "controlnet", none | values)

    @property
    def reads_noise_rate(self) -> bool:
        """Whether images start from their noised originals."""
        return not self.from_noise

    @property
    def num_noises(self) -> int:
        """Noises of an image before its first step."""
        return 1 if self.from_noise else super().num_noises

    def first_step(self, prompt: Prompt) -> int:
        """Return the index of the first step; raises as for image to image."""
        return 0 if self.from_noise else super().first_step(prompt)

    def start(self, originals: Originals, noise: "Tensor", sampler: "Sampler") -> "Tensor":
        """Return the latents (B, C, h, w), float32, of the first step."""
        if self.from_noise:
            return sampler.initial(noise[0])
        return super().start(originals, noise, sampler)

    def acts(self, num: int) -> list[bool]:
        """Return for each of `num` steps that are run whether it acts there, as in diffusers."""
        begin, end = self.control_interval
        return [not (step / num < begin or (step + 1) / num > end) for step in range(num)]

    def num_control_evaluations(self, prompt: Prompt) -> int:
        """Return the forward passes of the ControlNet for this image."""
        guided = self.guided_steps(prompt)
        acts = self.acts(len(guided))
        return sum(1 + is_guided for is_guided, is_on in zip(guided, acts, strict=True) if is_on)

    def companions_of(self, samples: Sequence[Sample]) -> CompanionsByField:
        """Return the condition of each original, if they are files.

        Raises:
            UserError: Conditions are missing or do not fit; names them.
        """
        stored = self.condition.of(samples)
        return {"condition": stored} if stored else {}

    def require(self) -> None:
        """Make sure that the weights are there, the ControlNet's and those of the condition too.

        Raises:
            UserError: They are not, or do not fit.
        """
        missing: dict[str, MissingWeightsError] = {}
        parts = {
            "images": super().require,
            "images.condition": self.condition.require,
            "images.controlnet": lambda: self.control.require(
                self.folder if self.is_on_disk else None
            ),
        }
        for name, require in parts.items():
            try:
                require()
            except MissingWeightsError as error:
                missing[name] = error
        if missing:
            raise MissingWeightsError.joined(missing)

    def memory(self) -> Memory:
        """Return what the weights of model and ControlNet need of the device's memory."""
        model, control = super().memory(), self.control
        added = memory_of(control.model, control.revision, self.dtype, control.variant)
        known = None not in (model.parameters, added.parameters)
        both = (model.parameters or 0) + (added.parameters or 0) if known else None
        return Memory(f"{model.model} + {Path(control.model).name}", both, self.dtype)

    def _require_fit(self) -> None:
        super()._require_fit()
        self._require_unet("controlnet")
