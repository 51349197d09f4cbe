"""The model that is adapted: which ones can be, and what is loaded of it."""

from typing import Any

import torch
from diffusers import DDPMScheduler

from sip.adapt.lora import require_targets
from sip.adapt.method import LoraTraining, Method
from sip.core.component import refuse
from sip.core.errors import UserError
from sip.device.precision import require_mixed
from sip.images.base import Generator
from sip.images.families import family_of
from sip.images.families.sd import StableDiffusion
from sip.images.families.sdxl import StableDiffusionXL
from sip.images.folder import PipelineFolder
from sip.images.loading import load_pipeline
from sip.images.lora_fit import skeleton
from sip.images.settings import DiffusionSettings
from sip.weights.layout import CHECKER
from sip.weights.source import require

PREDICTIONS = ("epsilon", "v_prediction")


def require_settings(generator: Generator) -> DiffusionSettings:
    """Return the settings of a generator whose kind can be adapted, before weights are looked at.

    Raises:
        UserError: It cannot.
    """
    if not isinstance(generator, DiffusionSettings):
        fix = "choose images=txt2img or a preset of Stable Diffusion"
        raise refuse("images", "a diffusion model on SIP's engine", type(generator).__name__, fix)
    if not generator.adaptable:
        rule = "Stable Diffusion 1.x, 2.x or XL, not distilled to few steps, to be adapted"
        raise refuse("images", rule, generator.model, "choose images=sd15, sd21 or sdxl")
    if generator.lora is not None:
        raise refuse("images.lora", "null, as the model itself is adapted", generator.lora)
    if generator.quantization is not None:
        raise refuse("images.quantization", "null for the training", generator.quantization)
    return generator


def require_precision(method: Method, settings: DiffusionSettings, device: str) -> None:
    """Refuse float16 on a CPU, also that of the weights.

    Raises:
        UserError: It is asked for.
    """
    require_mixed("method.precision", method.precision, device)
    is_cpu = torch.device(device).type == "cpu"
    if is_cpu and method.precision != "32-true" and settings.dtype == "float16":
        rule = "float32 or bfloat16 for a training on a CPU"
        raise refuse("images.dtype", rule, settings.dtype)


def require_model(settings: DiffusionSettings, method: Method) -> None:
    """Make sure that a model is on this disk, and that a method can adapt it.

    Another family is refused before its weights are downloaded.

    Raises:
        UserError: It is missing, or of another kind than Stable Diffusion 1.x, 2.x and XL, or has
            no modules of the names that the method updates.
    """
    require(
        settings.model,
        settings.revision,
        settings.variant,
        CHECKER,
        check=lambda path: _require_family(PipelineFolder(path), method),
        kind="diffusers",
    )
    folder, family = settings.folder, settings.family
    if family.reads_mask(folder) or family.embeds_guidance(folder):
        kind = "for inpainting" if family.reads_mask(folder) else "distilled to few steps"
        raise UserError(
            "images.model: must be a Stable Diffusion whose U-Net reads noise and text to be "
            f"adapted, got one {kind} in {folder.path}; set the model that it was made from"
        )
    predicts = folder.config("scheduler").get("prediction_type", PREDICTIONS[0])
    if predicts not in PREDICTIONS:
        raise UserError(
            f"images.model: must predict {' or '.join(PREDICTIONS)} to be adapted, got {predicts} "
            f"in {folder.path}; set another model"
        )
    settings.require()
    if isinstance(method, LoraTraining):
        require_targets(skeleton(folder, family.denoiser_part), method.targets)


def _require_family(folder: PipelineFolder, method: Method) -> None:
    family = family_of(folder)
    if not issubclass(family, StableDiffusion):
        raise UserError(
            "images.model: must be a Stable Diffusion 1.x, 2.x or XL to be adapted, got a "
            f"{folder.pipeline} in {folder.path}; set another model"
        )
    if issubclass(family, StableDiffusionXL) and not method.pools:
        rule = f"lora or dreambooth_lora for a {folder.pipeline}"
        raise refuse("method", rule, method.name)


class LoadedModel:
    """A model on its device, frozen.

    Args:
        settings: Which model.
        device: A torch device.
    """

    def __init__(self, settings: DiffusionSettings, device: str) -> None:
        self.pipeline: Any = load_pipeline(settings)
        family = settings.family(self.pipeline)
        assert isinstance(family, StableDiffusion)
        family.requires_grad_(False)
        family.eval()
        self.family = family.to(device)
        self.noise = DDPMScheduler.from_config(settings.folder.config("scheduler"))

    @property
    def tokenizers(self) -> list[Any]:
        """The tokenizers of the model."""
        names = ("tokenizer", "tokenizer_2")
        found = [getattr(self.pipeline, name, None) for name in names]
        return [one for one in found if one is not None]
