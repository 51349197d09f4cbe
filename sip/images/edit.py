"""Editors by instruction, such as FLUX.2-klein, FLUX.1-Kontext and Qwen-Image-Edit.

They have no `strength`: the original is a condition, and all steps run from pure noise. Equal to
diffusers' pipelines, which take the originals of one call as several conditions of one image: so
the images are generated one by one.
"""

from collections.abc import Sequence
from typing import Any

from sip.core.component import component
from sip.core.errors import UserError
from sip.core.progress import say
from sip.core.templates import cut
from sip.images.folder import PipelineFolder
from sip.images.pipelines import is_pipeline, takes
from sip.images.stock import Stock
from sip.prompts.base import Prompt


@component
class Edit(Stock):
    """Tells an editor what to make of the original.

    Args:
        instruction: Text with `{prompt}`, which is the image's own prompt.
    """

    instruction: str

    def __post_init__(self) -> None:
        """Refuse an instruction that says the same of every image."""
        super().__post_init__()
        cut("instruction", self.instruction, ("prompt",), needed=("prompt",))

    @property
    def reads_noise_rate(self) -> bool:
        """It does not: all steps run from pure noise."""
        return False

    @staticmethod
    def pipeline_class(folder: PipelineFolder) -> type:
        """Return the class of diffusers that generates with a model.

        Raises:
            UserError: It takes no image, or a noise rate.
        """
        import diffusers

        if is_pipeline(folder.pipeline):
            kind: type = getattr(diffusers, folder.pipeline)
            if takes(kind, "image") and not takes(kind, "strength"):
                return kind
        raise UserError(
            "images.model: must be an editor by instruction, such as FLUX.2-klein, got a "
            f"{folder.pipeline} in {folder.path}; set another model, or images=auto"
        )

    def text(self, prompt: Prompt) -> str:
        """Return the instruction of an image."""
        return self.instruction.format(prompt=prompt.text)

    def arguments(self, rows: Sequence[Prompt]) -> dict[str, Any]:
        """Return the arguments of the call for one row, but for images and seeds."""
        (row,) = rows
        values: dict[str, Any] = {
            "prompt": self.text(row),
            self.guidance_argument: row.guidance_scale,
        }
        if row.negative_prompt or self.guidance_argument == "true_cfg_scale":
            values["negative_prompt"] = row.negative_prompt
        return values

    def examine(self, prompts: Sequence[Prompt]) -> None:
        """Say what of the prompts is not used."""
        super().examine(prompts)
        if prompts:
            say("images", "the noise rate is not read: an editor starts from pure noise")

    def num_evaluations(self, prompt: Prompt) -> int:
        """Return the number of forward passes, before the model is loaded: an upper bound."""
        return 2 * self.num_steps if prompt.guidance_scale > 1 else self.num_steps
