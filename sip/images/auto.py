"""Image to image with any model that diffusers has such a pipeline for.

It is found by its name, as `AutoPipelineForImage2Image` maps them, which knows fewer. Equal to that
pipeline, called for one image at a time, at the rounded guidance scale. Rows of one noise rate and
guidance scale share a call, each with its own prompt, original and seed.
"""

from collections.abc import Sequence
from typing import Any

from sip.core.component import component
from sip.core.errors import UserError, ValueRefusedError
from sip.core.progress import say
from sip.core.ranges import Positive
from sip.core.shapes import Size
from sip.images.folder import PipelineFolder
from sip.images.pipelines import is_pipeline, takes
from sip.images.stock import Stock
from sip.prompts.base import Prompt


@component
class AutoImg2Img(Stock):
    """The image-to-image pipeline that diffusers has for a model.

    Args:
        guidance_step: Guidance scales are rounded to multiples of it, so that rows share a call.
    """

    guidance_step: Positive

    @staticmethod
    def pipeline_class(folder: PipelineFolder) -> type:
        """Return the class of diffusers that generates with a model.

        Raises:
            UserError: There is none with `strength`.
        """
        import diffusers

        name = folder.pipeline
        for candidate in (name, name.replace("Pipeline", "Img2ImgPipeline")):
            kind = getattr(diffusers, candidate) if is_pipeline(candidate) else None
            if kind and takes(kind, "strength") and not takes(kind, "control_image"):
                found: type = kind
                return found
        raise UserError(
            "images.model: must be a model that diffusers has an image-to-image pipeline with "
            f"`strength` for, got a {name} in {folder.path}; set another model, or images=edit if "
            "it follows instructions"
        )

    def guidance(self, prompt: Prompt) -> float:
        """Return the rounded guidance scale; 1 is no guidance."""
        steps = round(max(prompt.guidance_scale, 1.0) / self.guidance_step)
        return max(1.0, steps * self.guidance_step)

    def arguments(self, rows: Sequence[Prompt]) -> dict[str, Any]:
        """Return the arguments of one call for rows of one group, but for images and seeds."""
        values: dict[str, Any] = {
            "prompt": [self.text(row) for row in rows],
            "strength": rows[0].noise_rate,
            self.guidance_argument: self.guidance(rows[0]),
        }
        if rows[0].negative_prompt or self.guidance_argument == "true_cfg_scale":
            values["negative_prompt"] = [row.negative_prompt for row in rows]
        return values

    def group(self, prompt: Prompt) -> tuple[float, float, str, int | Size]:
        """Return what rows of one call share."""
        size = self.size_of(prompt)
        return prompt.noise_rate, self.guidance(prompt), prompt.negative_prompt, size

    def check(self, prompts: Sequence[Prompt]) -> None:
        """Check the prompts.

        Raises:
            UserError: With one of them no step would run.
        """
        for prompt in prompts:
            if int(self.num_steps * prompt.noise_rate) < 1:
                rule = f"in [{1 / self.num_steps:g}, 1], so that a step runs"
                fix = "change it or images.num_steps"
                raise ValueRefusedError("prompts.noise_rate", rule, prompt.noise_rate, fix)

    def examine(self, prompts: Sequence[Prompt]) -> None:
        """Say what is lost next to a model that has a family."""
        super().examine(prompts)
        if any(self.guidance(prompt) != max(prompt.guidance_scale, 1) for prompt in prompts):
            say("images", f"guidance scales are rounded to steps of {self.guidance_step:g}")

    def num_evaluations(self, prompt: Prompt) -> int:
        """Return the number of forward passes, before the model is loaded: an estimate."""
        num = int(self.num_steps * prompt.noise_rate)
        return 2 * num if self.guidance(prompt) > 1 else num
