"""The settings of ControlNet: image to image that keeps the original's edges or depth.

Source: Zhang et al., ICCV 2023, arXiv 2302.05543. Steps and order of the random numbers are those
of diffusers' `StableDiffusionControlNetImg2ImgPipeline` and
`StableDiffusionXLControlNetImg2ImgPipeline` (Apache 2.0).
"""

from functools import cached_property
from pathlib import Path
from typing import Any

from sip.core.component import Part, component, known_by, refuse
from sip.core.errors import UserError
from sip.core.ranges import NotNegative
from sip.images.conditions.base import Condition
from sip.images.control_weights import ControlWeights
from sip.images.img2img import Img2Img
from sip.images.settings import Interval, built
from sip.weights.memory import Memory, memory_of
from sip.weights.missing import MissingWeightsError


@component
class ControlSettings(Img2Img):
    """Image to image with a ControlNet.

    Args:
        controlnet: Folder or hub name of the ControlNet, or a mapping of `model`, `revision` and
            `variant`.
        condition: Makes what it reads of an original.
        conditioning_scale: Weight of what it adds; 0 is image to image without it.
        control_interval: Part of the steps that are run in which it acts, [begin, end].
    """

    controlnet: str | dict[str, Any] = known_by("control")
    condition: Part[Condition]
    conditioning_scale: NotNegative
    control_interval: Interval

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
        from sip.images.families.sd import StableDiffusion

        if not issubclass(self.family, StableDiffusion):
            raise UserError(
                "images.model: must be Stable Diffusion 1.x, 2.x or XL for images=controlnet, got "
                f"a {self.folder.pipeline} in {self.folder.path}; set another model"
            )
